"""Batched augmentation of premultiplied RGBA pictures: shape, colour, outline, background."""
import torch
import torch.nn.functional as F

SIDE = 64
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
LUMA = torch.tensor([0.299, 0.587, 0.114])


def uniform(n, low, high):
    """n numbers between low and high."""
    return torch.rand(n) * (high - low) + low


def some(n, chance):
    """Indices of a random subset."""
    return torch.nonzero(torch.rand(n) < chance)[:, 0]


def normalise(rgb):
    """CLIP's mean and deviation."""
    return (rgb - MEAN) / STD


def clean(raw):
    """uint8 premultiplied RGBA over white, resized to the model's input, without any change."""
    x = raw.float() / 255
    rgb = x[:, :3] + 1 - x[:, 3:]
    return normalise(F.interpolate(rgb, SIDE, mode="bicubic", antialias=True).clamp(0, 1))


def grid(n, flips):
    """Sampling grid: turn, scale, aspect, shear, shift, flip, and a smooth bend."""
    angle = torch.randn(n) * 0.16
    zoom = torch.exp(uniform(n, -0.1, 0.35) * (torch.rand(n) < 0.8))
    aspect = torch.exp(torch.randn(n) * 0.09)
    sx, sy = zoom * aspect, zoom / aspect
    flip = 1 - 2 * (flips * (torch.rand(n) < 0.4)).float()
    shear = torch.randn(n) * 0.1
    cos, sin = torch.cos(angle), torch.sin(angle)
    room = (zoom - 1).clamp(min=0) * 0.8 + 0.06
    row1 = torch.stack([cos * sx * flip, (shear * cos - sin) * sy, uniform(n, -1, 1) * room], 1)
    row2 = torch.stack([sin * sx * flip, (cos + shear * sin) * sy, uniform(n, -1, 1) * room], 1)
    base = F.affine_grid(torch.stack([row1, row2], 1), (n, 1, SIDE, SIDE), align_corners=False)
    knots = torch.randn(n, 2, 4, 4) * (torch.rand(n, 1, 1, 1) * 0.07)
    bend = F.interpolate(knots, SIDE, mode="bilinear", align_corners=True)
    return base + bend.permute(0, 2, 3, 1)


def strokes(x):
    """Thicken or thin dark lines of some pictures (erosion, dilation of the colours)."""
    pick = some(len(x), 0.2)
    half = len(pick) // 2
    for part, sign in ((pick[:half], 1), (pick[half:], -1)):
        if len(part):
            straight = x[part, :3] + (1 - x[part, 3:]) * (0.5 - sign * 0.5)
            pooled = F.max_pool2d(straight * sign, 3, 1, 1) * sign
            x[part, :3] = torch.minimum(pooled, x[part, 3:])
    return x


def colours(x):
    """Hue, saturation, contrast and brightness as one matrix on premultiplied colours."""
    n = len(x)
    saturation = torch.exp(torch.randn(n) * 0.25)
    saturation[some(n, 0.04)] = 0
    gain = torch.exp(torch.randn(n, 1) * 0.15 + torch.randn(n, 3) * 0.08)
    gray = LUMA.expand(3, 3)
    eye = torch.eye(3)
    matrix = gray + saturation.view(n, 1, 1) * (eye - gray)
    angle = torch.randn(n) * 0.12
    wide = some(n, 0.04)
    angle[wide] = uniform(len(wide), -3.14, 3.14)
    matrix = torch.bmm(hue(angle), matrix) * gain[:, :, None]
    offset = (torch.randn(n, 1) * 0.06 + torch.randn(n, 3) * 0.03)[:, :, None]
    full = torch.cat([matrix, offset], 2)
    rgb = torch.bmm(full, x.flatten(2)).view(n, 3, *x.shape[2:])
    return torch.cat([torch.minimum(rgb.clamp(min=0), x[:, 3:]), x[:, 3:]], 1)


def hue(angle):
    """Rotation matrices about the gray axis."""
    n, third = len(angle), 1 / 3
    cos, sin = torch.cos(angle).view(n, 1, 1), torch.sin(angle).view(n, 1, 1)
    turn = torch.tensor([[0., -1, 1], [1, 0, -1], [-1, 1, 0]]) * third ** 0.5
    return cos * torch.eye(3) + (1 - cos) * torch.full((3, 3), third) + sin * turn


def flatten(x):
    """Posterise some pictures, shade others with a soft light."""
    pick = some(len(x), 0.2)
    levels = torch.randint(2, 7, (len(pick), 1, 1, 1)).float()
    x[pick, :3] = torch.minimum((x[pick, :3] * levels).round() / levels, x[pick, 3:])
    pick = some(len(x), 0.3)
    light = 1 + torch.randn(len(pick), 1, 3, 3) * 0.2
    light = F.interpolate(light, SIDE, mode="bilinear", align_corners=True)
    x[pick, :3] = torch.minimum(x[pick, :3] * light.clamp(min=0.2), x[pick, 3:])
    return x


def outlines(x):
    """Give some pictures a border: mostly dark, sometimes light or coloured."""
    pick = some(len(x), 0.15)
    if len(pick) == 0:
        return x
    alpha = x[pick, 3:]
    wide = F.max_pool2d(alpha, 3, 1, 1)
    more = F.max_pool2d(wide, 3, 1, 1)
    wide = torch.where(torch.rand(len(pick), 1, 1, 1) < 0.4, more, wide)
    ink = torch.rand(len(pick), 1, 1, 1) * 0.3 + torch.rand(len(pick), 3, 1, 1) * 0.1
    ink = torch.where(torch.rand(len(pick), 1, 1, 1) < 0.25, 1 - ink, ink)
    x[pick] = torch.cat([x[pick, :3] + (wide - alpha) * ink, wide], 1)
    return x


def backgrounds(n):
    """White, plain colours, gradients, blotches."""
    out = torch.ones(n, 3, SIDE, SIDE)
    kind = torch.rand(n)
    out[(kind > 0.50) & (kind < 0.54)] *= 0.04
    plain = torch.nonzero((kind >= 0.54) & (kind < 0.78))[:, 0]
    out[plain] = torch.rand(len(plain), 3, 1, 1).expand(-1, -1, SIDE, SIDE)
    for low, high, cells in ((0.78, 0.88, 2), (0.88, 0.95, 5), (0.95, 1.0, 12)):
        pick = torch.nonzero((kind >= low) & (kind < high))[:, 0]
        spots = torch.rand(len(pick), 3, cells, cells)
        spots = (torch.rand(len(pick), 3, 1, 1) + (spots - 0.5) * torch.rand(len(pick), 1, 1, 1))
        if len(pick):
            out[pick] = F.interpolate(spots, SIDE, mode="bilinear",
                                      align_corners=True).clamp(0, 1)
    return out


def lens(rgb):
    """Blur, halve the resolution of, or add noise to a few pictures."""
    pick = some(len(rgb), 0.12)
    if len(pick):
        rgb[pick] = F.avg_pool2d(F.pad(rgb[pick], (1, 1, 1, 1), mode="replicate"), 3, 1)
    pick = some(len(rgb), 0.05)
    if len(pick):
        rgb[pick] = F.interpolate(F.avg_pool2d(rgb[pick], 2), SIDE, mode="bilinear")
    pick = some(len(rgb), 0.12)
    noise = torch.randn(len(pick), 3, SIDE, SIDE) * uniform(len(pick), 0, 0.1).view(-1, 1, 1, 1)
    rgb[pick] += noise
    return rgb


def augment(raw, flips):
    """uint8 premultiplied RGBA [n,4,h,w] and which may be flipped -> model input [n,3,64,64]."""
    n = len(raw)
    x = strokes(raw.float() / 255)
    x = F.grid_sample(x, grid(n, flips), mode="bilinear", align_corners=False)
    x = outlines(flatten(colours(x)))
    rgb = x[:, :3] + backgrounds(n) * (1 - x[:, 3:])
    return normalise(lens(rgb).clamp(0, 1))
