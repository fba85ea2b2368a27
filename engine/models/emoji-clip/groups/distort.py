"""A drawing on a random background, turned, shifted and worsened: mild, and seeded."""
import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SIDE = 96
BACKGROUNDS = 3  # drawn for each picture; the one farthest from the drawing's colour is taken


def stretch(cells):
    """Smooth [SIDE,SIDE,3] picture through a few cells of colours."""
    small = Image.fromarray(cells.clip(0, 255).astype(np.uint8))
    return np.asarray(small.resize((SIDE, SIDE), Image.BICUBIC), np.float32)


def plain(rng):
    """One colour."""
    return np.full((SIDE, SIDE, 3), rng.uniform(30, 255, 3), np.float32)


def gradient(rng):
    """From one colour to another, in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) - 0.5
    along = (np.cos(angle) * x + np.sin(angle) * y) / np.sqrt(2) + 0.5
    one, other = rng.uniform(30, 255, (2, 3))
    return one + (other - one) * along[:, :, None]


def noise(rng):
    """Soft blotches around one colour."""
    cells = rng.integers(3, 12)
    return stretch(rng.uniform(60, 230, 3) + rng.normal(0, 28, (cells, cells, 3)))


def checks(rng):
    """Squares of two colours that are not far apart."""
    cell = rng.integers(6, 25)
    y, x = np.mgrid[:SIDE, :SIDE] // cell
    one = rng.uniform(50, 235, 3)
    other = (one + rng.normal(0, 30, 3)).clip(0, 255)
    return np.where(((x + y) % 2)[:, :, None], one, other)


def background(rng):
    """[SIDE,SIDE,3] of one of the four kinds."""
    return (plain, gradient, noise, checks)[rng.choice(4, p=(0.3, 0.3, 0.25, 0.15))](rng)


def place(icon, rng):
    """[SIDE,SIDE,4] of 0..255: the drawing scaled, turned and shifted, transparent around."""
    side = round(SIDE * rng.uniform(0.6, 0.92))
    icon = icon.resize((side, side), Image.BICUBIC)
    icon = icon.rotate(rng.uniform(-18, 18), Image.BICUBIC, expand=True)
    room = SIDE - side
    shift = [round((SIDE - length) / 2 + rng.uniform(-0.5, 0.5) * room) for length in icon.size]
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(icon, tuple(shift))
    return np.asarray(canvas, np.float32)


def over_background(layer, rng):
    """The drawing over the background, of a few, that it stands out from most."""
    alpha = layer[:, :, 3:] / 255
    colour = (layer[:, :, :3] * alpha).sum((0, 1)) / max(alpha.sum(), 1)
    grounds = [background(rng) for _ in range(BACKGROUNDS)]
    ground = max(grounds, key=lambda g: np.linalg.norm(g.mean((0, 1)) - colour))
    return Image.fromarray((layer[:, :, :3] * alpha + ground * (1 - alpha)).astype(np.uint8))


def worsen(picture, rng):
    """Colours, blur, grain, JPEG."""
    for change in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        picture = change(picture).enhance(rng.uniform(0.75, 1.25))
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.4:
        grain = rng.normal(0, rng.uniform(2, 9), (SIDE, SIDE, 3))
        picture = Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=int(rng.integers(35, 90)))
        picture = Image.open(packed).convert("RGB")
    return picture


def distort(icon, *seed):
    """RGB picture of a square RGBA drawing; the same whole numbers give the same picture."""
    rng = np.random.default_rng(seed)
    return worsen(over_background(place(icon, rng), rng), rng)
