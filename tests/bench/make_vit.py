#!/usr/bin/python3
"""Writes a CLIP of the size of ViT-B/16 with random weights, and its image tower for ONNX Runtime.

    tests/bench/make_vit.py build/bench/vit_b16

The folder then holds
    config.json, model.safetensors (F32), preprocessor_config.json, vocab.json, merges.txt
                        a model folder in HuggingFace's layout, 149,620,737 parameters
    image_tower.onnx    pixels [batch, 3, 224, 224] -> unit features [batch, 512], same weights
    pixels.f32          eight normalised pictures, [8, 3, 224, 224], little-endian
    pool.safetensors    a random prompt pool, 32 prompts, 4 clusters
    words.txt           1,000 labels of one token each
Needs Debian's python3-torch.
"""

import json
import pathlib
import struct
import sys

import torch
from torch import nn

SEED = 16
PICTURES = 8
IMAGE_SIZE, PATCH_SIZE, JOINT_WIDTH = 224, 16, 512
VISION_WIDTH, TEXT_WIDTH, BLOCKS, HEAD_WIDTH = 768, 512, 12, 64
VOCABULARY, CONTEXT = 49408, 77
PATCHES = (IMAGE_SIZE // PATCH_SIZE) ** 2

# The modules bear HuggingFace's names, so that state_dict() is the model file.


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x):
        tokens, width = x.shape[1:]

        def split(y):
            return y.view(-1, tokens, self.heads, HEAD_WIDTH).transpose(1, 2)

        q = split(self.q_proj(x) * HEAD_WIDTH**-0.5)
        k, v = split(self.k_proj(x)), split(self.v_proj(x))
        mixed = torch.softmax(q @ k.transpose(2, 3), dim=-1) @ v
        return self.out_proj(mixed.transpose(1, 2).reshape(-1, tokens, width))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(width)
        self.self_attn = Attention(width)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.ModuleList(Block(width) for _ in range(BLOCKS))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class VisionEmbeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(VISION_WIDTH))
        self.patch_embedding = nn.Conv2d(3, VISION_WIDTH, PATCH_SIZE, PATCH_SIZE, bias=False)
        self.position_embedding = nn.Embedding(1 + PATCHES, VISION_WIDTH)

    def forward(self, pixels):
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class VisionModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = VisionEmbeddings()
        self.pre_layrnorm = nn.LayerNorm(VISION_WIDTH)  # spelt so in HuggingFace's files
        self.encoder = Encoder(VISION_WIDTH)
        self.post_layernorm = nn.LayerNorm(VISION_WIDTH)

    def forward(self, pixels):
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixels)))
        return self.post_layernorm(x[:, 0])


class TextEmbeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, TEXT_WIDTH)
        self.position_embedding = nn.Embedding(CONTEXT, TEXT_WIDTH)


class TextModel(nn.Module):
    """Weights only: the benchmark runs the image tower."""

    def __init__(self):
        super().__init__()
        self.embeddings = TextEmbeddings()
        self.encoder = Encoder(TEXT_WIDTH)
        self.final_layer_norm = nn.LayerNorm(TEXT_WIDTH)


class CLIP(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision_model = VisionModel()
        self.visual_projection = nn.Linear(VISION_WIDTH, JOINT_WIDTH, bias=False)
        self.text_model = TextModel()
        self.text_projection = nn.Linear(TEXT_WIDTH, JOINT_WIDTH, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(100.0).log())

    def forward(self, pixels):
        features = self.visual_projection(self.vision_model(pixels))
        return features / features.norm(dim=-1, keepdim=True)


def randomise(model):
    """Every layer keeps the size of what passes through it, so that no value is extreme and the
    features of two pictures differ."""
    for name, parameter in model.named_parameters():
        if name == "logit_scale":
            continue
        if "norm" in name:
            parameter.normal_(1.0 if name.endswith("weight") else 0.0, 0.1)
        elif parameter.dim() == 1 or "embedding.weight" in name and parameter.dim() == 2:
            parameter.normal_(0.0, 0.1)
        else:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5)


def make_pictures():
    """Coarse blotches under fine noise: like photographs, most of the power in low frequencies."""
    blotches = torch.randn(PICTURES, 3, 7, 7)
    smooth = nn.functional.interpolate(blotches, size=IMAGE_SIZE, mode="bicubic")
    return smooth + 0.3 * torch.randn(PICTURES, 3, IMAGE_SIZE, IMAGE_SIZE)


def write_safetensors(path, tensors, metadata=None):
    header, offset = {"__metadata__": metadata} if metadata else {}, 0
    for name, tensor in tensors.items():
        size = 4 * tensor.numel()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.numpy().astype("<f4").tobytes())


def tower_config(width):
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": width // HEAD_WIDTH,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }


def write_config(folder):
    config = {
        "model_type": "clip",
        "projection_dim": JOINT_WIDTH,
        "vision_config": {
            **tower_config(VISION_WIDTH),
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
        },
        "text_config": {
            **tower_config(TEXT_WIDTH),
            "vocab_size": VOCABULARY,
            "max_position_embeddings": CONTEXT,
            "bos_token_id": VOCABULARY - 2,
            "eos_token_id": VOCABULARY - 1,
        },
    }
    preprocessor = {
        "size": {"shortest_edge": IMAGE_SIZE},
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")


def make_words():
    """Words that are one token each: all of two letters, and q with two letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pairs = [a + b for a in letters for b in letters]
    return pairs + ["q" + pair for pair in pairs]


def make_merges():
    merges = ["p h", "ph o", "pho t", "phot o</w>"]
    merges += [f"{word[0]} {word[1]}</w>" for word in make_words() if len(word) == 2]
    merges += [f"q {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    merges += [f"{word[:2]} {word[2]}</w>" for word in make_words() if len(word) == 3]
    return merges


def write_tokenizer(folder):
    """Single bytes and the merges that make the words of the benchmark's labels."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    merges = make_merges()
    tokens = letters + [letter + "</w>" for letter in letters]
    tokens += ["".join(merge.split()) for merge in merges]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    vocabulary["<|startoftext|>"] = VOCABULARY - 2
    vocabulary["<|endoftext|>"] = VOCABULARY - 1
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "words.txt").write_text("\n".join(make_words()[-1000:]) + "\n")


def write_pool(path):
    """What a trained pool is like: small values, keys in all directions."""
    tensors = {
        "pool.keys": torch.randn(1, 32, JOINT_WIDTH),
        "pool.values": 0.02 * torch.randn(1, 32, 1, TEXT_WIDTH),
        "query_mean": torch.zeros(BLOCKS, JOINT_WIDTH),
    }
    metadata = {
        "format": "attriprompt.pool/1",
        "clusters": "4",
        "per_cluster": "1",
        "depth": str(BLOCKS),
        "pos0": "1",
        "sentence": "a photo of a {}.",
        "cluster_space": "raw",
        "query_space": "joint",
        "retrieval": "distinct",
    }
    write_safetensors(path, tensors, metadata)


def export_image_tower(model, pixels, path):
    torch.onnx.export(
        model,
        pixels[:1],
        path,
        opset_version=17,
        input_names=["pixels"],
        output_names=["features"],
        dynamic_axes={"pixels": {0: "batch"}, "features": {0: "batch"}},
    )


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    with torch.no_grad():
        model = CLIP().eval()
        randomise(model)
        pixels = make_pictures()
        write_config(folder)
        write_tokenizer(folder)
        write_safetensors(folder / "model.safetensors", model.state_dict())
        write_pool(folder / "pool.safetensors")
        (folder / "pixels.f32").write_bytes(pixels.numpy().astype("<f4").tobytes())
        export_image_tower(model, pixels, str(folder / "image_tower.onnx"))


if __name__ == "__main__":
    main()
