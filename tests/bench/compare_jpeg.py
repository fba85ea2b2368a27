#!/usr/bin/python3
"""What scaled decoding of JPEGs does to features and to the best label.

    tests/bench/compare_jpeg.py [--model DIR] [--labels-file FILE] FOLDER...

Every JPEG below a folder is embedded and classified twice by the built program, once with
--jpeg-decoding exact and once with scaled. Without labels those of the model are used.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/attriprompt"


def run(command, decoding, *words):
    words = [PROGRAM, command, "--json", "--jpeg-decoding", decoding, *words]
    return json.loads(subprocess.run(words, check=True, capture_output=True).stdout)


def features(decoding, model, photos):
    words = [word for photo in photos for word in ("--image", photo)]
    return run("embed", decoding, *model, *words)["image"]


def cosines(model, photos):
    pairs = zip(features("exact", model, photos), features("scaled", model, photos))
    return [sum(a * b for a, b in zip(*pair)) for pair in pairs]


def best(decoding, model, labels, photos):
    """(label, score) of each."""
    document = run("classify", decoding, *model, *labels, "--top-k", "1", *photos)
    found = [result["predictions"][0] for result in document["results"]]
    return [(each["label"], each["score"]) for each in found]


def report(folder, model, labels):
    photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not photos:
        raise SystemExit(f"{folder} holds no .jpg")
    near = sorted(cosines(model, photos))
    exact, scaled = (best(decoding, model, labels, photos) for decoding in ("exact", "scaled"))
    changed = [
        f"{photo.name}: {a[0]} {a[1]:.3f} -> {b[0]} {b[1]:.3f}"
        for photo, a, b in zip(photos, exact, scaled)
        if a[0] != b[0]
    ]
    print(f"{folder}: {len(photos)} JPEGs")
    print(f"  cosine of the features, exact to scaled: median {statistics.median(near):.5f},"
          f" least {near[0]:.5f}")
    print(f"  best label the same: {len(photos) - len(changed)} of {len(photos)}")
    for line in changed:
        print(f"    {line}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", help="default: the one that ships")
    parser.add_argument("--labels-file")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    model = ["--model", options.model] if options.model else []
    labels = ["--labels-file", options.labels_file] if options.labels_file else []
    for folder in options.folders:
        report(folder, model, labels)


if __name__ == "__main__":
    main()
