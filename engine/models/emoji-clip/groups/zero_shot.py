#!/usr/bin/python3
"""Zero-shot accuracy of a model on one split, as `attriprompt classify` answers.

Three tasks: all classes; the first half of the sorted names among themselves (base; the larger
half when the number is odd); the second half among themselves (new).
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
BATCH = 400  # pictures for one command line
SENTENCE = "a photo of a {}."


def answers(program, model, files, labels):
    """path -> the best label of each file."""
    best = {}
    for start in range(0, len(files), BATCH):
        command = [program, "classify", "--json", "--top-k", "1", "--sentence", SENTENCE,
                   "--model", model, "--labels-file", "-"]
        run = subprocess.run(command + files[start:start + BATCH], input="\n".join(labels),
                             stdout=subprocess.PIPE, text=True, check=True)
        for result in json.loads(run.stdout)["results"]:
            best[result["image"]] = result["predictions"][0]["label"]
    return best


def measure(program, model, folder, labels):
    """(right, pictures, mean of the classes' accuracies) among these labels."""
    files = [str(path) for label in labels for path in sorted((folder / label).glob("*.png"))]
    best = answers(program, model, files, labels)
    hits = {label: [] for label in labels}
    for path in files:
        label = Path(path).parent.name
        hits[label].append(best[path] == label)
    right = sum(map(sum, hits.values()))
    return right, len(files), sum(sum(h) / len(h) for h in hits.values()) / len(labels)


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that make.sh made")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--program", default=str(ROOT / "build/release/attriprompt"))
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent.parent))
    args = parser.parse_args()
    document = json.loads((args.data / "classes.json").read_text(encoding="utf-8"))
    names = sorted(entry["name"] for entry in document["classes"])
    half = (len(names) + 1) // 2
    for task, labels in (("all", names), ("base", names[:half]), ("new", names[half:])):
        right, count, mean = measure(args.program, args.model, args.data / args.split, labels)
        print("%-4s %2d classes, %4d pictures: top-1 %.1f %%, mean of classes %.1f %%,"
              " chance %.1f %%" % (task, len(labels), count, 100 * right / count, 100 * mean,
                                   100 / len(labels)))


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit("zero_shot.py: %s" % error)
