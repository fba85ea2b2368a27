"""CLIP's tokenizer in Python, as plainly as it can be said.

It shares nothing with the program: NFC and lower case are unicodedata's and str.lower's, the
pattern is run by the `regex` module, and pairs are merged by looking for the lowest rank anew
after each merge.
"""

import json
import unicodedata

import regex

WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^" + WHITE_SPACE + r"\p{L}\p{N}]+"
)


def byte_symbols():
    """The printable character that stands for each byte value."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in visible else chr(next(others)) for byte in range(256)]


SYMBOLS = byte_symbols()


def normalise(text):
    # One character at a time: there is no final-sigma rule in the tokenizer that this follows.
    return "".join(c.lower() for c in unicodedata.normalize("NFC", text))


def pieces(text):
    return PATTERN.findall(normalise(text))


def symbols(piece):
    """The characters that BPE starts from; the last one ends the word."""
    found = [SYMBOLS[byte] for byte in piece.encode("utf-8")]
    found[-1] += "</w>"
    return found


class Tokenizer:
    def __init__(self, vocabulary, merges):
        self.ids = vocabulary
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
        self.start = vocabulary["<|startoftext|>"]
        self.end = vocabulary["<|endoftext|>"]
        self.known = {}

    @classmethod
    def load(cls, folder):
        with open(f"{folder}/vocab.json", encoding="utf-8") as file:
            vocabulary = json.load(file)
        with open(f"{folder}/merges.txt", encoding="utf-8") as file:
            lines = file.read().split("\n")
        return cls(vocabulary, [l.split(" ") for l in lines if l and not l.startswith("#version")])

    def merge(self, parts):
        while len(parts) > 1:
            pairs = zip(parts, parts[1:])
            rank, i = min((self.ranks.get(p, len(self.ranks)), i) for i, p in enumerate(pairs))
            if rank == len(self.ranks):
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts

    def piece_ids(self, piece):
        if piece not in self.known:
            merged = self.merge(symbols(piece))
            self.known[piece] = [self.ids.get(part, self.end) for part in merged]
        return self.known[piece]

    def encode(self, text, context):
        ids = [self.start]
        for piece in pieces(text):
            if len(ids) >= context:
                break
            ids += self.piece_ids(piece)
        return ids[: context - 1] + [self.end]
