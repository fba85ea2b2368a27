#!/usr/bin/python3
"""Writes tests/golden/tokenizer/: a small CLIP tokenizer in both file forms, trained here on a few
sentences, and cases.json, the ids that reference_tokenizer.py gives for the hard texts."""

import collections
import json
import pathlib

from reference_tokenizer import SYMBOLS, Tokenizer, pieces, symbols
from tokenizer_texts import HARD, WORDS

FOLDER = pathlib.Path(__file__).parent / "tokenizer"
MERGES = 300
CONTEXT = 4096
START, END = "<|startoftext|>", "<|endoftext|>"

SENTENCES = [
    "a photo of a cat.", "a photo of a dog.", "a bad photo of the small bird.",
    "it's a drawing of the red house, isn't it?", "they're large and we've seen them",
    "Ein Foto von einer Straße über den Flüssen", "la forêt était très belle",
    "фотография кошки и собаки",
    "οδυσσεύς σοφός",
    "日本語の写真です", "한국어 사진",
    "😀😁 👍🏽 🇩🇪", "... !!! --- ?! 100 % 2012",
    "aaaa aaaaaaaa", " ".join(WORDS),
]  # fmt: skip


def train():
    """Merges, each of the pair that is most frequent at the time; ties go to the smaller pair."""
    counts = collections.Counter(p for text in SENTENCES for p in pieces(text))
    words = [(symbols(piece), count) for piece, count in sorted(counts.items())]
    merges = []
    while len(merges) < MERGES:
        pairs = collections.Counter()
        for parts, count in words:
            for pair in zip(parts, parts[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for parts, _ in words:
            for i in reversed(range(len(parts) - 1)):
                if tuple(parts[i : i + 2]) == best:
                    parts[i : i + 2] = ["".join(best)]
    return merges


def main():
    merges = train()
    tokens = sorted(SYMBOLS) + [s + "</w>" for s in sorted(SYMBOLS)]
    tokens += ["".join(pair) for pair in merges] + [START, END]
    vocabulary = {token: id for id, token in enumerate(dict.fromkeys(tokens))}
    lines = [" ".join(pair) for pair in merges]
    model = {"type": "BPE", "unk_token": END, "end_of_word_suffix": "</w>", "fuse_unk": False}
    model |= {"continuing_subword_prefix": "", "vocab": vocabulary, "merges": lines}
    added = [{"id": vocabulary[t], "content": t, "special": True} for t in (START, END)]
    document = {"version": "1.0", "added_tokens": added, "model": model}

    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "tokenizer.json").write_text(json.dumps(document, indent=0) + "\n")
    (FOLDER / "vocab.json").write_text(json.dumps(vocabulary, indent=0) + "\n")
    (FOLDER / "merges.txt").write_text("\n".join(["#version: 0.2"] + lines) + "\n", "utf-8")

    tokenizer = Tokenizer(vocabulary, merges)
    cases = [{"text": text, "ids": tokenizer.encode(text, CONTEXT)} for text in HARD]
    text = ",\n".join(json.dumps(case) for case in cases)
    (FOLDER / "cases.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
