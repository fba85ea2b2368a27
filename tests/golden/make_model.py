#!/usr/bin/python3
"""Writes a CLIP model folder with random weights, for trials of size and speed.

    make_model.py FOLDER [--layout huggingface|openai|open_clip] [--dtype F32|F16|BF16]
                  [--vision WIDTH,HEADS,BLOCKS,MLP] [--text WIDTH,HEADS,BLOCKS,MLP] [--image PIXELS]
                  [--patch PIXELS] [--joint WIDTH] [--context TOKENS] [--vocabulary TOKENS]

The defaults are those of ViT-B/16 (599 MB in F32). The tokenizer is the tiny one of make_towers.py,
so texts become far more tokens than with CLIP's own. Needs numpy, regex and torch.
"""
import argparse
import pathlib

import torch

import make_towers as towers

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def tower(text):
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError("must be WIDTH,HEADS,BLOCKS,MLP")
    return numbers


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layout", default="huggingface",
                        choices=["huggingface", "openai", "open_clip"])
    parser.add_argument("--dtype", default="F32", choices=DTYPES)
    parser.add_argument("--vision", type=tower, default=(768, 12, 12, 3072))
    parser.add_argument("--text", type=tower, default=(512, 8, 12, 2048))
    for name, default in [("image", 224), ("patch", 16), ("joint", 512), ("context", 77),
                          ("vocabulary", 49408)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()

    g = towers.Geometry(options.vision, options.text, options.image, options.patch, options.joint,
                        options.context, options.vocabulary, "quick_gelu", 0)
    weights = towers.rounded(towers.random_weights(g), DTYPES[options.dtype])
    tensors, config = weights, towers.huggingface_config(g)
    if options.layout == "huggingface":
        tensors = towers.as_huggingface(weights)
    elif options.layout == "open_clip":
        tensors, config = towers.as_open_clip(weights), towers.open_clip_config(g)
    options.folder.mkdir(parents=True)
    towers.write_safetensors(options.folder / "model.safetensors", tensors)
    towers.write_json(options.folder / "config.json", config)
    towers.write_tokenizer(options.folder)


if __name__ == "__main__":
    main()
