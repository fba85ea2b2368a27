#!/usr/bin/python3
"""CLIP's byte-level BPE: learn a vocabulary, write and read it, encode text.

Run as a program it learns the vocabulary of the captions in DIR/classes.json.
"""
import argparse
import collections
import json
import os
import unicodedata

import regex

from captions import EXTRA_TEXT, TEMPLATES

START, END = "<|startoftext|>", "<|endoftext|>"
PIECES = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
                       r"|[^\s\p{L}\p{N}]+", regex.IGNORECASE)
CONTEXT = 77
VERSION = "#version: 0.2"


def byte_alphabet():
    """GPT-2's table: byte value -> printable character, in CLIP's vocabulary order."""
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table = {b: chr(b) for b in kept}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(kept))
    return table


ALPHABET = byte_alphabet()


def normalise(text):
    """NFC, one space for a run of white space, no space at the ends, lower case."""
    text = unicodedata.normalize("NFC", text)
    return regex.sub(r"\s+", " ", text).strip().lower()


def pieces(text):
    """The words of a text, each as a string over the printable byte alphabet."""
    for piece in PIECES.findall(normalise(text)):
        yield "".join(ALPHABET[b] for b in piece.encode("utf-8"))


def join_pair(parts, pair):
    """parts with every occurrence of pair joined, from the left."""
    out, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def learn(counts, merges):
    """Up to `merges` merges from {piece: count}; ties go to the smallest pair."""
    words = {w: list(w[:-1]) + [w[-1] + "</w>"] for w in counts}
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for word, parts in words.items():
        for pair in zip(parts, parts[1:]):
            pairs[pair] += counts[word]
            where[pair].add(word)
    learned = []
    while len(learned) < merges and pairs:
        best = min(pairs, key=lambda p: (-pairs[p], p))
        if pairs[best] <= 0:
            break
        learned.append(best)
        for word in list(where[best]):
            for pair in zip(words[word], words[word][1:]):
                pairs[pair] -= counts[word]
            words[word] = join_pair(words[word], best)
            for pair in zip(words[word], words[word][1:]):
                pairs[pair] += counts[word]
                where[pair].add(word)
        del pairs[best], where[best]
    return learned


def write(folder, merges):
    """vocab.json and merges.txt in the layout of OpenAI CLIP's HuggingFace folder."""
    symbols = list(ALPHABET.values())
    tokens = symbols + [s + "</w>" for s in symbols] + [a + b for a, b in merges] + [START, END]
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as handle:
        json.dump({t: i for i, t in enumerate(tokens)}, handle, ensure_ascii=False,
                  separators=(",", ":"))
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as handle:
        handle.write("\n".join([VERSION] + ["%s %s" % m for m in merges]) + "\n")


class Tokenizer:
    """Encodes text with the vocab.json and merges.txt of a folder."""

    def __init__(self, folder):
        with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as handle:
            self.vocab = json.load(handle)
        with open(os.path.join(folder, "merges.txt"), encoding="utf-8") as handle:
            lines = handle.read().split("\n")[1:]
        self.ranks = {tuple(line.split(" ")): i for i, line in enumerate(lines) if line}
        self.start, self.end = self.vocab[START], self.vocab[END]
        self.cache = {}

    def piece(self, piece):
        """Token ids of one piece."""
        if piece in self.cache:
            return self.cache[piece]
        parts = list(piece[:-1]) + [piece[-1] + "</w>"]
        while len(parts) > 1:
            pair = min(zip(parts, parts[1:]), key=lambda p: self.ranks.get(p, 1 << 30))
            if pair not in self.ranks:
                break
            parts = join_pair(parts, pair)
        self.cache[piece] = [self.vocab[p] for p in parts]
        return self.cache[piece]

    def encode(self, text):
        """Ids with start and end token, at most CONTEXT of them, the end kept."""
        ids = [i for p in pieces(text) for i in self.piece(p)]
        return [self.start] + ids[:CONTEXT - 2] + [self.end]


def caption_counts(classes):
    """{piece: count} over names (heavily), aliases, keywords and the templates."""
    counts = collections.Counter()
    for entry in classes:
        for weight, texts in ((8, [entry["name"]]), (4, entry["aliases"]), (1, entry["keywords"])):
            for text in texts:
                for piece in pieces(text):
                    counts[piece] += weight
    for text in list(TEMPLATES) + EXTRA_TEXT:
        for piece in pieces(text.replace("{}", "")):
            counts[piece] += 50
    return counts


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with classes.json; written here too")
    parser.add_argument("--size", type=int, default=4096, help="largest vocabulary")
    args = parser.parse_args()
    with open(os.path.join(args.data, "classes.json"), encoding="utf-8") as handle:
        counts = caption_counts(json.load(handle))
    merges = learn(counts, args.size - 514)
    write(args.data, merges)
    print("%d words, %d merges, vocabulary %d" % (len(counts), len(merges), len(merges) + 514))


if __name__ == "__main__":
    main()
