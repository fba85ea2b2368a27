"""OpenAI's CLIP architecture at toy size, in plain PyTorch, with HuggingFace parameter names.

QuickGELU(x) = x sigmoid(1.702 x) is computed as z sigmoid(z) / 1.702 with z = 1.702 x.
"""
import torch
import torch.nn.functional as F
from torch import nn

IMAGE, PATCH, CONTEXT = 64, 8, 77
VISION, TEXT, JOINT, LAYERS, HEAD = 192, 128, 128, 6, 64


class Attention(nn.Module):
    """Multi-head self-attention with separate q, k, v and out projections."""

    def __init__(self, width):
        super().__init__()
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, mask):
        n, length, width = x.shape
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        bias = torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])
        qkv = F.linear(x, weight, bias).view(n, length, 3, width // HEAD, HEAD)
        q, k, v = [t.reshape(-1, length, HEAD) for t in qkv.permute(2, 0, 3, 1, 4)]
        scores = torch.bmm(q * HEAD ** -0.5, k.transpose(1, 2)).float()
        if mask is not None:
            scores = scores + mask
        mixed = torch.bmm(scores.softmax(-1).to(v.dtype), v)
        mixed = mixed.view(n, -1, length, HEAD).transpose(1, 2).reshape(n, length, width)
        return self.out_proj(mixed)


class QuickGelu(torch.autograd.Function):
    """x sigmoid(1.702 x) * 1.702 of an input already multiplied by 1.702: z sigmoid(z).

    PyTorch 1.13 has a slow bfloat16 silu; this keeps the derivative instead of recomputing it.
    """

    @staticmethod
    def forward(ctx, z):
        gate = torch.sigmoid(z)
        out = z * gate
        if z.requires_grad or ctx.needs_input_grad[0]:
            ctx.save_for_backward(torch.addcmul(gate, out, 1 - gate))
        return out

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0]


class Mlp(nn.Module):
    """Two linear layers around QuickGELU."""

    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        hidden = QuickGelu.apply(F.linear(x, self.fc1.weight * 1.702, self.fc1.bias * 1.702))
        return F.linear(hidden, self.fc2.weight / 1.702, self.fc2.bias)


def drop_path(x, rate, training):
    """Stochastic depth: leave the branch out for some samples."""
    if not training or rate == 0:
        return x
    keep = (torch.rand(x.shape[0], 1, 1) >= rate).to(x.dtype) / (1 - rate)
    return x * keep


class Layer(nn.Module):
    """Pre-norm residual block."""

    def __init__(self, width, drop):
        super().__init__()
        self.layer_norm1, self.self_attn = nn.LayerNorm(width), Attention(width)
        self.layer_norm2, self.mlp = nn.LayerNorm(width), Mlp(width)
        self.drop = drop

    def forward(self, x, mask):
        x = x + drop_path(self.self_attn(self.layer_norm1(x), mask), self.drop, self.training)
        return x + drop_path(self.mlp(self.layer_norm2(x)), self.drop, self.training)


class Encoder(nn.Module):
    """A stack of blocks."""

    def __init__(self, width, drop):
        super().__init__()
        rates = [drop * i / (LAYERS - 1) for i in range(LAYERS)]
        self.layers = nn.ModuleList(Layer(width, r) for r in rates)

    def forward(self, x, mask=None):
        for layer in self.layers:
            x = layer(x, mask)
        return x


class VisionEmbeddings(nn.Module):
    """Patches, class token, positions."""

    def __init__(self):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(VISION) * VISION ** -0.5)
        self.patch_embedding = nn.Conv2d(3, VISION, PATCH, PATCH, bias=False)
        self.position_embedding = nn.Embedding((IMAGE // PATCH) ** 2 + 1, VISION)

    def forward(self, pixels, kept):
        n, side = pixels.shape[0], IMAGE // PATCH
        rows = pixels.view(n, 3, side, PATCH, side, PATCH).permute(0, 2, 4, 1, 3, 5)
        rows = rows.reshape(n, side * side, -1)
        position = self.position_embedding.weight
        place = position[1:].expand(n, -1, -1)
        if kept is not None:
            rows = torch.gather(rows, 1, kept[:, :, None].expand(-1, -1, rows.shape[2]))
            place = position[1:][kept]
        patches = F.linear(rows, self.patch_embedding.weight.view(VISION, -1)) + place
        first = (self.class_embedding + position[0]).expand(n, 1, -1)
        return torch.cat([first, patches], 1)


class Vision(nn.Module):
    """Image tower up to post_layernorm of the class token."""

    def __init__(self, drop):
        super().__init__()
        self.embeddings = VisionEmbeddings()
        self.pre_layrnorm = nn.LayerNorm(VISION)
        self.encoder = Encoder(VISION, drop)
        self.post_layernorm = nn.LayerNorm(VISION)

    def forward(self, pixels, kept=None):
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixels, kept)))
        return self.post_layernorm(x[:, 0])


class TextEmbeddings(nn.Module):
    """Tokens and positions."""

    def __init__(self, vocabulary):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, TEXT)
        self.position_embedding = nn.Embedding(CONTEXT, TEXT)

    def forward(self, ids):
        return self.token_embedding(ids) + self.position_embedding.weight[:ids.shape[1]]


class Text(nn.Module):
    """Text tower up to final_layer_norm of the end token (the largest id)."""

    def __init__(self, vocabulary):
        super().__init__()
        self.embeddings = TextEmbeddings(vocabulary)
        self.encoder = Encoder(TEXT, 0.0)
        self.final_layer_norm = nn.LayerNorm(TEXT)

    def forward(self, ids):
        mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf")).triu(1)
        x = self.encoder(self.embeddings(ids), mask)
        return self.final_layer_norm(x[torch.arange(len(ids)), ids.argmax(1)])


class Clip(nn.Module):
    """Both towers, the projections and the scale; features come out normalised."""

    def __init__(self, vocabulary, drop=0.0):
        super().__init__()
        self.vision_model, self.text_model = Vision(drop), Text(vocabulary)
        self.visual_projection = nn.Linear(VISION, JOINT, bias=False)
        self.text_projection = nn.Linear(TEXT, JOINT, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))
        self.reset()

    def reset(self):
        """OpenAI's initialisation."""
        for tower, width in ((self.vision_model, VISION), (self.text_model, TEXT)):
            for layer in tower.encoder.layers:
                for part in (layer.self_attn.q_proj, layer.self_attn.k_proj,
                             layer.self_attn.v_proj):
                    nn.init.normal_(part.weight, std=width ** -0.5)
                for part in (layer.self_attn.out_proj, layer.mlp.fc2):
                    nn.init.normal_(part.weight, std=(width * 2 * LAYERS) ** -0.5)
                nn.init.normal_(layer.mlp.fc1.weight, std=(2 * width) ** -0.5)
                for part in layer.modules():
                    if isinstance(part, nn.Linear):
                        nn.init.zeros_(part.bias)
        nn.init.normal_(self.text_model.embeddings.token_embedding.weight, std=0.02)
        nn.init.normal_(self.text_model.embeddings.position_embedding.weight, std=0.01)
        nn.init.normal_(self.vision_model.embeddings.position_embedding.weight, std=0.02)
        nn.init.normal_(self.visual_projection.weight, std=VISION ** -0.5)
        nn.init.normal_(self.text_projection.weight, std=TEXT ** -0.5)

    def image(self, pixels, kept=None):
        """Unit image features."""
        return F.normalize(self.visual_projection(self.vision_model(pixels, kept)).float(), dim=1)

    def text(self, ids):
        """Unit text features."""
        return F.normalize(self.text_projection(self.text_model(ids)).float(), dim=1)
