#!/usr/bin/python3
"""Write a checkpoint as a HuggingFace CLIPModel folder with half-precision weights."""
import argparse
import json
import os
import shutil
import struct

import torch

from clip import CONTEXT, HEAD, IMAGE, JOINT, LAYERS, PATCH, TEXT, VISION


def tower(width, **more):
    """The part of the configuration that both towers share."""
    return {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": LAYERS,
            "num_attention_heads": width // HEAD, "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5, "attention_dropout": 0.0, "initializer_factor": 1.0,
            "initializer_range": 0.02, "projection_dim": JOINT, **more}


def config(vocabulary):
    """config.json as CLIPConfig writes it."""
    text = tower(TEXT, model_type="clip_text_model", max_position_embeddings=CONTEXT,
                 vocab_size=vocabulary, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1,
                 pad_token_id=vocabulary - 1)
    vision = tower(VISION, model_type="clip_vision_model", image_size=IMAGE, patch_size=PATCH,
                   num_channels=3)
    return {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": JOINT,
            "logit_scale_init_value": 2.6592, "initializer_factor": 1.0, "torch_dtype": "float16",
            "text_config": text, "vision_config": vision}


def preprocessor():
    """preprocessor_config.json of CLIPImageProcessor."""
    return {"image_processor_type": "CLIPImageProcessor",
            "feature_extractor_type": "CLIPFeatureExtractor", "do_convert_rgb": True,
            "do_resize": True, "size": {"shortest_edge": IMAGE}, "resample": 3,
            "do_center_crop": True, "crop_size": {"height": IMAGE, "width": IMAGE},
            "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711]}


def tokenizer_files():
    """tokenizer_config.json and special_tokens_map.json."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    return dict(special, tokenizer_class="CLIPTokenizer", do_lower_case=True, errors="replace",
                model_max_length=CONTEXT, add_prefix_space=False), special


def write_safetensors(path, tensors):
    """Half-precision safetensors file; the header is padded to a multiple of 8."""
    header, blobs, place = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        value = tensors[name].detach().float()
        assert torch.isfinite(value).all() and value.abs().max() < 65504, name
        blob = value.half().contiguous().numpy().tobytes()
        header[name] = {"dtype": "F16", "shape": list(value.shape),
                        "data_offsets": [place, place + len(blob)]}
        blobs.append(blob)
        place += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".new", "wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    os.replace(path + ".new", path)


def read_safetensors(path):
    """Name -> float tensor of a half-precision safetensors file."""
    with open(path, "rb") as handle:
        raw = handle.read()
    size = struct.unpack("<Q", raw[:8])[0]
    out = {}
    for name, entry in json.loads(raw[8:8 + size]).items():
        if name != "__metadata__":
            first, last = (8 + size + o for o in entry["data_offsets"])
            flat = torch.frombuffer(bytearray(raw[first:last]), dtype=torch.float16)
            out[name] = flat.float().view(entry["shape"])
    return out


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with vocab.json and merges.txt")
    parser.add_argument("--checkpoint", required=True, help="ckpt.pt or best.pt of train.py")
    parser.add_argument("--out", required=True, help="model folder")
    args = parser.parse_args()
    state = torch.load(args.checkpoint, map_location="cpu")
    tensors = dict(state["average"])
    tensors["logit_scale"] = tensors["logit_scale"].clamp(max=4.6052)
    vocabulary = len(tensors["text_model.embeddings.token_embedding.weight"])
    os.makedirs(args.out, exist_ok=True)
    write_safetensors(os.path.join(args.out, "model.safetensors"), tensors)
    tokenizer, special = tokenizer_files()
    for name, content in (("config.json", config(vocabulary)),
                          ("preprocessor_config.json", preprocessor()),
                          ("tokenizer_config.json", tokenizer),
                          ("special_tokens_map.json", special)):
        with open(os.path.join(args.out, name), "w", encoding="utf-8") as handle:
            json.dump(content, handle, indent=2)
            handle.write("\n")
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(os.path.join(args.data, name), os.path.join(args.out, name))
    print("exported step %d (%.1f minutes)" % (state["step"], state["spent"] / 60))


if __name__ == "__main__":
    main()
