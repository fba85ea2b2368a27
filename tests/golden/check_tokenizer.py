#!/usr/bin/python3
"""Compares the program's ids with reference_tokenizer.py's on many random texts.

usage: check_tokenizer.py PROGRAM VOCABULARY [TEXTS [SEED]]

PROGRAM is tokenize_lines of a build; VOCABULARY a folder with CLIP's vocab.json and merges.txt.
"""

import itertools
import subprocess
import sys

from reference_tokenizer import Tokenizer
from tokenizer_texts import HARD, Texts


def run_program(program, vocabulary, context, texts):
    encoded = [text.encode("utf-8") for text in texts]
    stdin = b"".join(b"%d\n%s\n" % (len(text), text) for text in encoded)
    command = [program, vocabulary, str(context)]
    stdout = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout
    return [[int(id) for id in line.split()] for line in stdout.decode().splitlines()]


def compare(program, vocabulary, count, seed):
    """(context, texts compared, those whose ids differ) of a usual and of a long context."""
    texts = HARD + list(itertools.islice(Texts(seed), count))
    reference = Tokenizer.load(vocabulary)
    for context in (77, 4096):
        found = run_program(program, vocabulary, context, texts)
        assert len(found) == len(texts)
        wanted = (reference.encode(text, context) for text in texts)
        yield context, len(texts), [t for t, f, w in zip(texts, found, wanted) if f != w]


def main(program, vocabulary, count="12000", seed="1"):
    failed = False
    for context, compared, different in compare(program, vocabulary, int(count), int(seed)):
        print(f"context {context}: {compared} texts, {len(different)} with other ids")
        for text in different[:5]:
            print(f"  {ascii(text)[:300]}")
        failed = failed or bool(different)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
