#!/usr/bin/python3
"""Writes a random prompt pool for a model: keys in all directions, prompts as training starts from.

    tests/bench/make_pool.py MODEL_FOLDER POOL_FILE [SEED]

Needs numpy and the built program, which tells the sizes of the model.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/integration"))

import pool_files  # noqa: E402


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(f"usage: {sys.argv[0]} MODEL_FOLDER POOL_FILE [SEED]")
    command = [ROOT / "build/release/attriprompt", "model", "inspect", "--json", "--model"]
    told = subprocess.run([*command, sys.argv[1]], check=True, capture_output=True).stdout
    model = json.loads(told)
    pool_files.random_pool(
        sys.argv[2],
        text_width=model["text"]["width"],
        joint_width=model["joint_width"],
        text_blocks=model["text"]["blocks"],
        seed=int(sys.argv[3]) if len(sys.argv) == 4 else 1,
    )


if __name__ == "__main__":
    main()
