#!/usr/bin/python3
"""Draw the emoji-groups pictures: OUT/{train,val,test}/CLASS/*.png and OUT/classes.json.

The same package versions give the same bytes. OUT is replaced when all is drawn, not before.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "make"))

from build_data import TEST, STYLES, bare, load, render_svg  # noqa: E402
from distort import SIDE, distort  # noqa: E402
from groups import SEED, bases_of, classes  # noqa: E402

PICTURES = {"train": 6, "val": 3, "test": 3}  # of each emoji
SHEET_CLASSES, SHEET_PICTURES = 12, 10


def slug(text):
    """A label as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("’", "")).strip("-")


def draw(task):
    """Draw and save the pictures of one emoji; returns how many."""
    svg, folder, stem, base, count = task
    icon = render_svg(svg)
    numbers = [int(part, 16) for part in base.split("-")]
    for n in range(count):
        distort(icon, SEED, n, *numbers).save(os.path.join(folder, "%s-%d.png" % (stem, n + 1)))
    return count


def plan(kept, drawings, out):
    """Make the folders; the task of every emoji."""
    tasks = []
    for name, _, splits in kept:
        for split, entries in splits.items():
            folder = out / split / name
            folder.mkdir(parents=True)
            for entry in entries:
                code = bare(entry["hexcode"])
                stem = "%s-%s" % (code.lower(), slug(entry["label"]))
                tasks.append((drawings[code], str(folder), stem, entry["base"], PICTURES[split]))
    return tasks


def describe(kept):
    """What classes.json holds, in the order of the names."""
    rows = []
    for name, subgroup, splits in kept:
        emoji = {split: len(entries) for split, entries in splits.items()}
        pictures = {split: count * PICTURES[split] for split, count in emoji.items()}
        rows.append({"name": name, "subgroup": subgroup, "emoji": emoji, "pictures": pictures})
    return {"seed": SEED, "side": SIDE, "classes": rows}


def table(rows):
    """The classes as lines of a Markdown table."""
    lines = ["| class | Unicode subgroup | emoji: train | val | test"
             " | pictures: train | val | test |",
             "|---|---|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        cells = [row["name"], row["subgroup"]]
        cells += [str(row[kind][split]) for kind in ("emoji", "pictures") for split in PICTURES]
        lines.append("| %s |" % " | ".join(cells))
    total = [sum(row[kind][split] for row in rows)
             for kind in ("emoji", "pictures") for split in PICTURES]
    return lines + ["| %d classes | | %s |" % (len(rows), " | ".join(map(str, total)))]


def digest(out):
    """One SHA-256 over names and bytes of all files."""
    whole = hashlib.sha256()
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        whole.update(("%s\n%s\n" % (path.relative_to(out).as_posix(),
                                    hashlib.sha256(path.read_bytes()).hexdigest())).encode())
    return whole.hexdigest()


def contact_sheet(out, path):
    """Training pictures of evenly chosen classes, one class a row."""
    names = sorted(p.name for p in (out / "train").iterdir())
    step = len(names) / SHEET_CLASSES
    sheet = Image.new("RGB", (SHEET_PICTURES * SIDE, SHEET_CLASSES * SIDE), (255, 255, 255))
    for row in range(SHEET_CLASSES):
        files = sorted((out / "train" / names[int(row * step)]).iterdir())
        for column in range(SHEET_PICTURES):
            with Image.open(files[column * len(files) // SHEET_PICTURES]) as picture:
                sheet.paste(picture, (column * SIDE, row * SIDE))
        print("row %2d of the sheet: %s" % (row + 1, names[int(row * step)]))
    sheet.save(path, quality=80, optimize=True)


def render(tasks):
    """Draw everything with all cores, with a line of progress for each tenth."""
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(draw, tasks, chunksize=8), 1):
            if done % max(1, len(tasks) // 10) == 0 or done == len(tasks):
                print("%5d of %d emoji drawn" % (done, len(tasks)), flush=True)


def replace(new, out):
    """Put a finished folder in the place of the one before."""
    if out.exists():
        shutil.rmtree(out)
    new.rename(out)


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with node_modules")
    parser.add_argument("--out", required=True, type=Path, help="folder to make or replace")
    parser.add_argument("--sheet", help="also save a picture with some of them")
    args = parser.parse_args()
    if args.out.exists() and not (args.out / "classes.json").is_file():
        parser.error("%s is there and is no such set (it has no classes.json)" % args.out)
    folder = Path(args.data, "node_modules", STYLES[TEST][0])
    drawings = {bare(path.stem): str(path) for path in folder.glob("*.svg")}
    found = bases_of(load(args.data, "emojibase-data/en/data.json"),
                     load(args.data, "emojibase-data/meta/groups.json"), drawings)
    kept, left_out = classes(found)
    if not kept:
        parser.error("%s has not enough drawings for a class" % folder)
    new = args.out.with_name(args.out.name + ".new")
    if new.exists():
        shutil.rmtree(new)
    render(plan(kept, drawings, new))
    document = describe(kept)
    (new / "classes.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    replace(new, args.out)
    print("\n".join(table(document["classes"])))
    print("left out: " + ", ".join("%s (%d)" % item for item in left_out))
    print("SHA-256 of all: %s" % digest(args.out))
    if args.sheet:
        contact_sheet(args.out, args.sheet)


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit("make_groups.py: %s" % error)
