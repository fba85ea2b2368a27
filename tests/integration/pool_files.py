"""Prompt pool files, and safetensors files in general, by numpy alone."""

import json
import math
import struct

import numpy

DEFAULTS = {
    "format": "attriprompt.pool/1",
    "clusters": "4",
    "per_cluster": "1",
    "pos0": "1",
    "sentence": "a photo of a {}.",
    "cluster_space": "raw",
    "query_space": "joint",
    "retrieval": "distinct",
}


def write_safetensors(path, tensors, metadata):
    """tensors: name -> array, written in F32."""
    header, offset = {"__metadata__": metadata}, 0
    arrays = {name: numpy.ascontiguousarray(tensors[name], "<f4") for name in sorted(tensors)}
    for name, array in arrays.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.tobytes())


def write_pool(path, values, keys, query_mean, **metadata):
    """values [G,M,P,text width], keys [G,M,query width], query_mean [text blocks, query width].
    Metadata that is None is left out; depth is all text blocks unless it is given."""
    texts = {**DEFAULTS, "depth": len(query_mean), **metadata}
    write_safetensors(
        path,
        {"pool.values": values, "pool.keys": keys, "query_mean": query_mean},
        {key: str(value) for key, value in texts.items() if value is not None},
    )


def random_pool(
    path,
    *,
    text_width,
    joint_width,
    text_blocks,
    groups=1,
    prompts=32,
    tokens=1,
    clusters=4,
    per_cluster=1,
    depth=None,
    seed=1,
    **metadata,
):
    """A pool whose keys point in all directions, with prompts as training starts from."""
    random = numpy.random.default_rng(seed)
    write_pool(
        path,
        random.normal(0, 0.02, (groups, prompts, tokens, text_width)),
        random.normal(0, 1 / math.sqrt(joint_width), (groups, prompts, joint_width)),
        numpy.zeros((text_blocks, joint_width)),
        clusters=clusters,
        per_cluster=per_cluster,
        depth=text_blocks if depth is None else depth,
        **metadata,
    )


EMOJI = {"text_width": 128, "joint_width": 128, "text_blocks": 6}


def emoji_pool(path, **changes):
    """A random pool for the model that ships, and the path. By its seed every choice over the
    samples is firm: no margin is below 1e-4."""
    random_pool(path, **{**EMOJI, "seed": 8, **changes})
    return path


def read_safetensors(path):
    """(tensors, metadata); F16 and BF16 widened to F32."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            bits = numpy.frombuffer(data[begin:end], "<u2").astype("<u4") << 16
            flat = bits.view("<f4")
        else:
            flat = numpy.frombuffer(data[begin:end], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        tensors[name] = flat.astype("<f4").reshape(entry["shape"])
    return tensors, metadata
