"""Ids of 12,000 random texts with CLIP's own vocabulary against the Python implementation.

The vocabulary is not part of this repository: ATTRIPROMPT_CLIP_TOKENIZER names a folder with
tokenizer.json, vocab.json and merges.txt.
"""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VOCABULARY = os.environ.get("ATTRIPROMPT_CLIP_TOKENIZER")
PROGRAM = ROOT / os.environ.get("ATTRIPROMPT_BUILD", "build/release") / "golden/tokenize_lines"


@pytest.mark.skipif(not VOCABULARY, reason="ATTRIPROMPT_CLIP_TOKENIZER names no folder")
def test_ids_equal_the_reference():
    pytest.importorskip("regex")
    sys.path.insert(0, str(ROOT / "tests/golden"))
    from check_tokenizer import compare

    for context, compared, different in compare(str(PROGRAM), VOCABULARY, 12000, 1):
        assert compared >= 12000
        assert different == [], f"context {context}"
