#!/usr/bin/python3
"""Writes tests/golden/towers/: tiny random CLIP models and what their towers compute.

The reference is written from the published description of CLIP with plain tensors, in double
precision, and shares nothing with the C code: texts are padded to the whole context and masked as
OpenAI does, where the C code stops at the end of text.

Each folder is a model folder that the engine opens (weights, config, tokenizer) with one file more,
reference.safetensors: pixels [images, 3, size, size], image_features and text_features (unit
length), for `huggingface` also patch_rows [blocks, images, patches, width] (the patch rows after
every block), and the texts under "text.<n>" in its metadata.

  huggingface  F32,  quick_gelu, heads in config.json
  open_clip    F16,  gelu, names of CustomTextCLIP, its own file names
  openai       BF16, no config at all
  same_*       one model written in all three layouts (open_clip as a training checkpoint)
  one_block    towers of one block, so that the first is also the last
  one_patch    a patch as large as the image, with fewer numbers than a row

Needs numpy, regex and torch. Run from anywhere; the output is the same on every run.
"""
import json
import math
import pathlib
import shutil
import struct

import numpy
import regex
import torch

HERE = pathlib.Path(__file__).resolve().parent
SOT, EOT = "<|startoftext|>", "<|endoftext|>"
MERGES = ["p h", "ph o", "pho t", "phot o</w>", "o f</w>", "c a", "ca t</w>", "d o", "do g</w>",
          "i n", "in g</w>"]
TEXTS = ["a photo of a cat.", "A photo of a  DOG", "", "Café 42's", "sleeping"]


class Tower:
    def __init__(self, width, heads, blocks, mlp):
        self.width, self.heads, self.blocks, self.mlp = width, heads, blocks, mlp


class Geometry:
    def __init__(self, vision, text, image, patch, joint, context, vocabulary, act, seed):
        self.vision, self.text = Tower(*vision), Tower(*text)
        self.image, self.patch, self.grid = image, patch, image // patch
        self.joint, self.context, self.vocabulary = joint, context, vocabulary
        self.act, self.seed = act, seed


# ---- Tokenizer: CLIP's byte-level BPE with a handful of merges

def byte_alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}


def make_vocabulary():
    symbols = list(byte_alphabet().values())
    merged = ["".join(merge.split()) for merge in MERGES]
    names = symbols + [s + "</w>" for s in symbols] + merged + [SOT, EOT]
    return {name: number for number, name in enumerate(names)}


def tokenize(text, vocabulary):
    alphabet = byte_alphabet()
    ranks = {tuple(merge.split()): rank for rank, merge in enumerate(MERGES)}
    ids = [vocabulary[SOT]]
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    for piece in regex.findall(pattern, text.lower()):
        parts = [alphabet[b] for b in piece.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(pairs, key=lambda pair: ranks.get(pair, math.inf))
            if best not in ranks:
                break
            at = pairs.index(best)
            parts[at:at + 2] = ["".join(best)]
        ids += [vocabulary[part] for part in parts]
    return ids + [vocabulary[EOT]]


# ---- Weights, in OpenAI's names and shapes

def random_block(random, prefix, width, mlp, out):
    def linear(name, outputs, inputs, gain):
        return {f"{name}": random.normal(0, gain / math.sqrt(inputs), (outputs, inputs))}

    def norm(name):
        return {f"{name}.weight": random.normal(1, 0.2, width),
                f"{name}.bias": random.normal(0, 0.1, width)}

    block = {
        **norm("ln_1"), **norm("ln_2"),
        **linear("attn.in_proj_weight", 3 * width, width, 1.5),
        "attn.in_proj_bias": random.normal(0, 0.2, 3 * width),
        **linear("attn.out_proj.weight", width, width, 0.8),
        "attn.out_proj.bias": random.normal(0, 0.1, width),
        **linear("mlp.c_fc.weight", mlp, width, 1.2),
        "mlp.c_fc.bias": random.normal(0, 0.2, mlp),
        **linear("mlp.c_proj.weight", width, mlp, 1.0),
        "mlp.c_proj.bias": random.normal(0, 0.1, width),
    }
    out.update({prefix + name: value for name, value in block.items()})


def random_weights(g, logit_scale=math.log(100)):
    random = numpy.random.default_rng(g.seed)
    vision, text = g.vision.width, g.text.width
    pixels = 3 * g.patch ** 2
    weights = {
        "visual.class_embedding": random.normal(0, 1, vision),
        "visual.conv1.weight":
            random.normal(0, 1 / math.sqrt(pixels), (vision, 3, g.patch, g.patch)),
        "visual.positional_embedding": random.normal(0, 0.4, (1 + g.grid ** 2, vision)),
        "visual.proj": random.normal(0, 1 / math.sqrt(vision), (vision, g.joint)),
        "token_embedding.weight": random.normal(0, 0.7, (g.vocabulary, text)),
        "positional_embedding": random.normal(0, 0.3, (g.context, text)),
        "text_projection": random.normal(0, 1 / math.sqrt(text), (text, g.joint)),
        "logit_scale": numpy.array(logit_scale),
    }
    for name, width in [("visual.ln_pre", vision), ("visual.ln_post", vision), ("ln_final", text)]:
        weights[f"{name}.weight"] = random.normal(1, 0.2, width)
        weights[f"{name}.bias"] = random.normal(0, 0.1, width)
    for n in range(g.vision.blocks):
        random_block(random, f"visual.transformer.resblocks.{n}.", vision, g.vision.mlp, weights)
    for n in range(g.text.blocks):
        random_block(random, f"transformer.resblocks.{n}.", text, g.text.mlp, weights)
    return {name: torch.from_numpy(w) for name, w in weights.items()}


def rounded(weights, dtype):
    return {name: value.to(dtype) for name, value in weights.items()}


# ---- The three layouts

HF_PARTS = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
HF_RENAMES = [
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("ln_final.", "text_model.final_layer_norm."),
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
    (".attn.out_proj.", ".self_attn.out_proj."),
    (".ln_1.", ".layer_norm1."), (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."),
]


def as_huggingface(weights):
    out = {}
    for name, value in weights.items():
        if name in HF_PARTS:
            out[HF_PARTS[name]] = value
        elif name == "visual.proj":
            out["visual_projection.weight"] = value.T.contiguous()
        elif name == "text_projection":
            out["text_projection.weight"] = value.T.contiguous()
        else:
            for old, new in HF_RENAMES:
                name = name.replace(old, new)
            if ".attn.in_proj_" in name:
                start, kind = name.split(".attn.in_proj_")
                for which, part in zip("qkv", value.chunk(3)):
                    out[f"{start}.self_attn.{which}_proj.{kind}"] = part.contiguous()
            else:
                out[name] = value
    context = weights["positional_embedding"].shape[0]
    out["text_model.embeddings.position_ids"] = torch.arange(context)[None]
    return out


def as_open_clip(weights, prefix=""):
    text = ("token_embedding", "positional_embedding", "transformer.", "ln_final",
            "text_projection")
    out = {prefix + ("text." if name.startswith(text) else "") + name: value
           for name, value in weights.items()}
    context = weights["positional_embedding"].shape[0]
    out[prefix + "text.attn_mask"] = torch.full((context, context), -math.inf).triu(1)
    out[prefix + "logit_scale"] = weights["logit_scale"].reshape(1)
    return out


# ---- Files

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def tensor_bytes(tensor):
    if tensor.dtype == torch.bfloat16:  # which numpy does not know
        tensor = tensor.view(torch.int16)
    return tensor.contiguous().numpy().tobytes()


def write_safetensors(path, tensors, metadata=None):
    header, blobs, offset = {}, [], 0
    if metadata:
        header["__metadata__"] = metadata
    for name in sorted(tensors):
        blob = tensor_bytes(tensors[name])
        header[name] = {"dtype": DTYPES[tensors[name].dtype], "shape": list(tensors[name].shape),
                        "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_tokenizer(folder):
    write_json(folder / "vocab.json", make_vocabulary())
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")


def huggingface_config(g):
    def tower(t):
        return {"hidden_size": t.width, "num_attention_heads": t.heads,
                "num_hidden_layers": t.blocks, "intermediate_size": t.mlp,
                "hidden_act": g.act, "layer_norm_eps": 1e-5}
    return {"model_type": "clip", "projection_dim": g.joint,
            "vision_config": tower(g.vision) | {"image_size": g.image, "patch_size": g.patch},
            "text_config": tower(g.text) | {"vocab_size": g.vocabulary,
                                            "max_position_embeddings": g.context}}


def open_clip_config(g):
    model = {
        "embed_dim": g.joint,
        "vision_cfg": {"image_size": g.image, "patch_size": g.patch, "width": g.vision.width,
                       "layers": g.vision.blocks, "head_width": g.vision.width // g.vision.heads},
        "text_cfg": {"context_length": g.context, "vocab_size": g.vocabulary,
                     "width": g.text.width, "heads": g.text.heads, "layers": g.text.blocks},
    }
    if g.act == "quick_gelu":
        model["quick_gelu"] = True
    return {"model_cfg": model}


# ---- What CLIP computes

def layer_norm(x, weights, name):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred ** 2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-5) * weights[f"{name}.weight"] + \
        weights[f"{name}.bias"]


def activate(z, act):
    if act == "quick_gelu":
        return z * torch.sigmoid(1.702 * z)
    return z * (1 + torch.erf(z / math.sqrt(2))) / 2


def attention(x, weights, prefix, heads, causal):
    batch, tokens, width = x.shape
    joined = x @ weights[prefix + "attn.in_proj_weight"].T + weights[prefix + "attn.in_proj_bias"]
    q, k, v = (part.reshape(batch, tokens, heads, width // heads).transpose(1, 2)
               for part in joined.split(width, -1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(width // heads)
    if causal:
        later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(batch, tokens, width)
    return mixed @ weights[prefix + "attn.out_proj.weight"].T + \
        weights[prefix + "attn.out_proj.bias"]


def block(x, weights, prefix, heads, act, causal):
    x = x + attention(layer_norm(x, weights, prefix + "ln_1"), weights, prefix, heads, causal)
    hidden = layer_norm(x, weights, prefix + "ln_2") @ weights[prefix + "mlp.c_fc.weight"].T
    hidden = activate(hidden + weights[prefix + "mlp.c_fc.bias"], act)
    return x + hidden @ weights[prefix + "mlp.c_proj.weight"].T + \
        weights[prefix + "mlp.c_proj.bias"]


def unit(x):
    return x / torch.sqrt((x ** 2).sum(-1, keepdim=True))


def encode_images(g, weights, pixels):
    """Unit features [images, joint] and the patch rows after every block."""
    images, p = len(pixels), g.patch
    patches = pixels.reshape(images, 3, g.grid, p, g.grid, p).permute(0, 2, 4, 1, 3, 5)
    x = patches.reshape(images, g.grid ** 2, 3 * p * p) @ \
        weights["visual.conv1.weight"].reshape(g.vision.width, -1).T
    start = weights["visual.class_embedding"].expand(images, 1, g.vision.width)
    x = torch.cat([start, x], 1) + weights["visual.positional_embedding"]
    x = layer_norm(x, weights, "visual.ln_pre")
    rows = []
    for n in range(g.vision.blocks):
        x = block(x, weights, f"visual.transformer.resblocks.{n}.", g.vision.heads, g.act, False)
        rows.append(x[:, 1:])
    features = layer_norm(x[:, 0], weights, "visual.ln_post") @ weights["visual.proj"]
    return unit(features), torch.stack(rows)


def encode_texts(g, weights, texts):
    vocabulary = make_vocabulary()
    ids = torch.zeros(len(texts), g.context, dtype=torch.long)
    for n, text in enumerate(texts):
        tokens = tokenize(text, vocabulary)
        assert len(tokens) <= g.context, (text, len(tokens))
        ids[n, :len(tokens)] = torch.tensor(tokens)
    x = weights["token_embedding.weight"][ids] + weights["positional_embedding"]
    for n in range(g.text.blocks):
        x = block(x, weights, f"transformer.resblocks.{n}.", g.text.heads, g.act, True)
    x = layer_norm(x, weights, "ln_final")[torch.arange(len(texts)), ids.argmax(-1)]
    return unit(x @ weights["text_projection"])


def check_spread(features, what):
    """Features that hardly depend on the input would make a weak test."""
    cosines = features @ features.T - torch.eye(len(features), dtype=features.dtype)
    assert cosines.max() < 0.99, (what, cosines)


def write_reference(path, g, weights, with_patch_rows):
    weights = {name: value.double() for name, value in weights.items()}
    random = numpy.random.default_rng(g.seed + 1000)
    pixels = torch.from_numpy(random.normal(0, 1.2, (4, 3, g.image, g.image))).float()
    image_features, patch_rows = encode_images(g, weights, pixels.double())
    text_features = encode_texts(g, weights, TEXTS)
    check_spread(image_features, path)
    check_spread(text_features, path)
    tensors = {"pixels": pixels, "image_features": image_features.float(),
               "text_features": text_features.float()}
    if with_patch_rows:
        tensors["patch_rows"] = patch_rows.float()
    write_safetensors(path, tensors, {f"text.{n}": text for n, text in enumerate(TEXTS)})


# ---- The folders

def make_folder(folder, g, weights, tensors, weights_name="model.safetensors", config=None,
                config_name="config.json", with_patch_rows=False):
    folder.mkdir(parents=True)
    write_safetensors(folder / weights_name, tensors)
    if config:
        write_json(folder / config_name, config)
    write_tokenizer(folder)
    write_reference(folder / "reference.safetensors", g, weights, with_patch_rows)


def main():
    root = HERE / "towers"
    shutil.rmtree(root, ignore_errors=True)
    vocabulary = len(make_vocabulary())

    g = Geometry((32, 2, 3, 96), (40, 5, 2, 96), 32, 8, 24, 26, vocabulary, "quick_gelu", 1)
    weights = rounded(random_weights(g), torch.float32)
    make_folder(root / "huggingface", g, weights, as_huggingface(weights),
                config=huggingface_config(g), with_patch_rows=True)

    g = Geometry((64, 2, 2, 128), (64, 1, 2, 96), 20, 5, 20, 24, vocabulary, "gelu", 2)
    weights = rounded(random_weights(g, math.log(14.3)), torch.float16)
    make_folder(root / "open_clip", g, weights, as_open_clip(weights),
                "open_clip_model.safetensors", open_clip_config(g), "open_clip_config.json")

    g = Geometry((128, 2, 2, 64), (64, 1, 1, 80), 12, 4, 48, 32, vocabulary, "quick_gelu", 3)
    weights = rounded(random_weights(g), torch.bfloat16)
    make_folder(root / "openai", g, weights, weights)

    g = Geometry((16, 2, 2, 40), (24, 3, 1, 48), 12, 6, 16, 24, vocabulary, "quick_gelu", 4)
    weights = rounded(random_weights(g), torch.float32)
    make_folder(root / "same_huggingface", g, weights, as_huggingface(weights),
                config=huggingface_config(g))
    make_folder(root / "same_openai", g, weights, weights, config=huggingface_config(g))
    make_folder(root / "same_open_clip", g, weights, as_open_clip(weights, "module."),
                config=open_clip_config(g))

    g = Geometry((16, 2, 1, 24), (8, 1, 1, 16), 12, 4, 12, 24, vocabulary, "gelu", 5)
    weights = rounded(random_weights(g), torch.float16)
    make_folder(root / "one_block", g, weights, as_huggingface(weights),
                config=huggingface_config(g))

    g = Geometry((16, 1, 2, 12), (8, 2, 2, 24), 2, 2, 12, 24, vocabulary, "quick_gelu", 7)
    weights = rounded(random_weights(g), torch.float16)
    make_folder(root / "one_patch", g, weights, as_huggingface(weights),
                config=huggingface_config(g))

    for path in sorted(root.rglob("*.safetensors")):
        print(f"{path.stat().st_size:8d} {path.relative_to(root)}")


if __name__ == "__main__":
    main()
