"""Ids of 12,000 random texts with CLIP's own vocabulary against the Python implementation.

The vocabulary is not part of this repository: ATTRIPROMPT_CLIP_TOKENIZER names a folder with
tokenizer.json, vocab.json and merges.txt.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / os.environ.get("ATTRIPROMPT_BINARY", "build/release/attriprompt")
PROGRAM = BINARY.parent / "golden/tokenize_lines"
VOCABULARY = os.environ.get("ATTRIPROMPT_CLIP_TOKENIZER")


@pytest.mark.skipif(not VOCABULARY, reason="ATTRIPROMPT_CLIP_TOKENIZER names no folder")
def test_ids_equal_the_reference():
    pytest.importorskip("regex")
    sys.path.insert(0, str(ROOT / "tests/golden"))
    from check_tokenizer import compare

    for context, compared, different in compare(str(PROGRAM), VOCABULARY, 12000, 1):
        assert compared >= 12000
        assert different == [], f"context {context}"
