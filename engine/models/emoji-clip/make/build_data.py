#!/usr/bin/python3
"""Render the emoji pictures that fetch.sh installed and write one data file.

Output in DIR: pictures.npz (premultiplied RGBA, 80x80, with class and style of each picture)
and classes.json (name, aliases and keywords of each emoji).  Flags and skin tones are left out.
"""
import argparse
import json
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

SIDE = 80
VALIDATION = "fxemoji"
TEST = "twemoji"
# style name -> (package, kind); kind says how its pictures are found.
STYLES = {
    "noto": ("emoji-datasource-google", "datasource"),
    "noto-svg": ("@iconify-json/noto", "iconify"),
    "noto-v1": ("@iconify-json/noto-v1", "iconify"),
    "fluent-3d": ("@lobehub/fluent-emoji-3d", "webp"),
    "fluent-modern": ("@lobehub/fluent-emoji-modern", "svg"),
    "fluent-flat": ("@iconify-json/fluent-emoji-flat", "iconify"),
    "openmoji": ("@iconify-json/openmoji", "iconify"),
    "emojione": ("@iconify-json/emojione", "iconify"),
    "emojione-v1": ("@iconify-json/emojione-v1", "iconify"),
    "streamline": ("@iconify-json/streamline-emojis", "iconify"),
    VALIDATION: ("@iconify-json/fxemoji", "iconify"),
    TEST: ("@twemoji/svg", "svg"),
}
# Everyday words that the official names miss: word -> code points.
EVERYDAY = {
    "car": "1F697", "phone": "1F4F1", "computer": "1F4BB", "plane": "2708-FE0F", "bike": "1F6B2",
    "boat": "26F5", "house": "1F3E0", "apple": "1F34E", "heart": "2764-FE0F", "clock": "23F0",
    "football": "26BD", "ball": "26BD", "sun": "2600-FE0F", "moon": "1F319", "coffee": "2615",
    "beer": "1F37A", "wine": "1F377", "ice cream": "1F366", "cake": "1F382", "burger": "1F354",
    "fries": "1F35F", "donut": "1F369", "flower": "1F33B", "gift": "1F381", "pen": "1F58A-FE0F",
    "book": "1F4D6", "shoe": "1F45F", "hat": "1F3A9", "shirt": "1F455", "bee": "1F41D",
    "ladybug": "1F41E", "duck": "1F986", "chick": "1F424", "lamp": "1F4A1", "tv": "1F4FA",
    "cup": "2615", "tree": "1F333", "fish": "1F41F", "bird": "1F426", "train": "1F686",
    "smile": "1F642", "smiley": "1F603", "poop": "1F4A9", "motorbike": "1F3CD-FE0F",
    "truck": "1F69A", "star": "2B50", "key": "1F511", "chair": "1FA91", "corn": "1F33D",
    "pumpkin": "1F383", "teddy": "1F9F8", "snowman": "2603-FE0F", "orange": "1F34A",
}


def squash(text):
    """Letters and digits only: 'Dog face' and 'dogface' are one key."""
    return re.sub(r"[^a-z0-9]", "", text.lower().replace("’", ""))


def plain(text):
    """A caption-like form of a name or keyword."""
    text = text.replace("_", " ").replace("-", " ").replace("’", "'").lower()
    return re.sub(r"\s+", " ", text).strip()


def load(root, path):
    """One JSON file below node_modules."""
    with open(os.path.join(root, "node_modules", path), encoding="utf-8") as handle:
        return json.load(handle)


def bare(code):
    """Code points without the emoji-presentation selector, as a key."""
    return code.upper().replace("-FE0F", "")


def read_classes(root):
    """The emojis without flags and components: list of dicts with name and words."""
    labels = {bare(e["hexcode"]): e for e in load(root, "emojibase-data/en/data.json")}
    keywords = {}
    for char, words in load(root, "emojilib/dist/emoji-en-US.json").items():
        keywords[bare("-".join("%04X" % ord(c) for c in char))] = words
    classes, used = [], set()
    for entry in load(root, "emoji-datasource-google/emoji.json"):
        key = bare(entry["unified"])
        if entry["category"] in ("Flags", "Component"):
            continue
        base = labels.get(key, {})
        name = plain(base.get("label") or entry["name"])
        if name in used:
            name = plain(entry["name"])
        used.add(name)
        aliases = [plain(w) for w in entry["short_names"] + [entry["name"].split(" (")[0]]]
        words = [plain(w) for w in base.get("tags", []) + keywords.get(key, [])]
        classes.append({"code": key, "name": name, "category": entry["category"],
                        "aliases": aliases, "keywords": words})
    add_everyday(classes)
    for c in classes:
        c["aliases"] = clean_words(c["aliases"], c["name"])
        c["keywords"] = clean_words(c["keywords"], c["name"])
    return classes


def add_everyday(classes):
    """Aliases from the table, and the short form of 'dog face', 'tiger face' (animals)."""
    index = {c["code"]: c for c in classes}
    for word, code in EVERYDAY.items():
        index[bare(code)]["aliases"].insert(0, word)
    for c in classes:
        if c["category"] == "Animals & Nature" and c["name"].endswith(" face"):
            c["aliases"].insert(0, c["name"][:-5])


def clean_words(words, name):
    """Distinct words in order, without the name itself, symbols and odd lengths."""
    out = []
    for word in words:
        okay = re.fullmatch(r"[a-z0-9][a-z0-9 '&!?.+]*", word) and 2 < len(word) < 40
        if (okay or word == "tv") and word != name and word not in out:
            out.append(word)
    return out


def name_index(root, classes):
    """squashed name -> class number, from every name list that the packages carry."""
    order = {c["code"]: i for i, c in enumerate(classes)}
    index = {}
    for i, c in enumerate(classes):
        index.setdefault(squash(c["name"]), i)
    for char, entry in load(root, "unicode-emoji-json/data-by-emoji.json").items():
        i = order.get(bare("-".join("%04X" % ord(x) for x in char)))
        if i is not None:
            index.setdefault(squash(entry["name"]), i)
    for pack in ("noto", "fluent-emoji-flat", "openmoji"):
        for code, name in load(root, "@iconify-json/%s/chars.json" % pack).items():
            if bare(code) in order:
                index.setdefault(squash(name), order[bare(code)])
    for i, c in enumerate(classes):
        for word in c["aliases"]:
            index.setdefault(squash(word), i)
    return index


def iconify_items(root, package, classes, names):
    """(class, svg text) of the icons of one set that name a known emoji."""
    data = load(root, package + "/icons.json")
    order = {c["code"]: i for i, c in enumerate(classes)}
    try:
        chars = {n: bare(c) for c, n in load(root, package + "/chars.json").items()}
    except FileNotFoundError:
        chars = {}
    taken = {}
    for name, icon in data["icons"].items():
        if name in chars:
            number = order.get(chars[name])
        else:
            number = names.get(squash(re.sub(r"-[1-5]$", "", name)))
        if number is None:
            continue
        box = [icon.get(k, data.get(k, 16)) for k in ("width", "height")]
        svg = ('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
               ' viewBox="0 0 %s %s" color="#222">%s</svg>' % (box[0], box[1], icon["body"]))
        taken.setdefault(number, []).append(svg)
    return [(number, svg) for number, svgs in taken.items() for svg in svgs[:3]]


def folder_items(folder, suffix, classes):
    """(class, path) of the files of one folder that are named by code points."""
    files = {bare(os.path.splitext(f)[0]): f for f in os.listdir(folder) if f.endswith(suffix)}
    return [(i, os.path.join(folder, files[c["code"]]))
            for i, c in enumerate(classes) if c["code"] in files]


def render_svg(source):
    """Rasterise SVG text (or a path) with librsvg; returns a square RGBA picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = source
        if source.lstrip().startswith("<"):
            path = os.path.join(folder, "in.svg")
            with open(path, "w", encoding="utf-8") as handle:
                handle.write(source)
        out = os.path.join(folder, "out.png")
        subprocess.run(["rsvg-convert", "-a", "-w", "160", "-h", "160", "-o", out, path],
                       check=True, stderr=subprocess.DEVNULL)
        return Image.open(out).convert("RGBA")


def to_array(picture):
    """Square, 80x80, premultiplied uint8 [4,80,80]."""
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    square = square.convert("RGBa").resize((SIDE, SIDE), Image.LANCZOS)
    raw = np.frombuffer(square.tobytes(), np.uint8).reshape(SIDE, SIDE, 4)
    return raw.transpose(2, 0, 1)


def style_items(root, style, classes, names):
    """(class, source) pairs of one style."""
    package, kind = STYLES[style]
    base = os.path.join(root, "node_modules", package)
    if kind == "iconify":
        return iconify_items(root, package, classes, names)
    if kind == "datasource":
        return folder_items(os.path.join(base, "img/google/64"), ".png", classes)
    folder = base if style == TEST else os.path.join(base, "assets")
    return folder_items(folder, "." + kind, classes)


def draw(item):
    """Render one (class, source) pair; None if the picture is broken or empty."""
    number, source = item
    try:
        if source.lstrip().startswith("<") or source.endswith(".svg"):
            array = to_array(render_svg(source))
        else:
            array = to_array(Image.open(source).convert("RGBA"))
    except (OSError, subprocess.CalledProcessError):
        return None
    return None if array[3].mean() < 4 else (number, array)


def summary(picture):
    """20x20 colours of a picture over white, for comparing."""
    x = picture.astype(np.float32) / 255
    return (x[:3] + 1 - x[3:]).reshape(3, 20, 4, 20, 4).mean((2, 4))


def training_mask(pictures, numbers, styles):
    """True for training pictures: not test or validation style, and not nearly the same picture
    as the test style's for that emoji (plain shapes and buttons that several sets share)."""
    order = list(STYLES)
    test, held = order.index(TEST), order.index(VALIDATION)
    seen = {n: summary(p) for p, n, s in zip(pictures, numbers, styles) if s == test}
    mask = []
    for picture, number, style in zip(pictures, numbers, styles):
        far = number not in seen or np.abs(summary(picture) - seen[number]).mean() > 0.02
        mask.append(style not in (test, held) and far)
    return np.array(mask)


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder that fetch.sh filled")
    args = parser.parse_args()
    classes = read_classes(args.data)
    names = name_index(args.data, classes)
    with open(os.path.join(args.data, "classes.json"), "w", encoding="utf-8") as handle:
        json.dump(classes, handle, indent=1, ensure_ascii=False)
    pictures, numbers, styles = [], [], []
    for position, style in enumerate(STYLES):
        items = style_items(args.data, style, classes, names)
        with ThreadPoolExecutor(2) as pool:
            drawn = [d for d in pool.map(draw, items) if d is not None]
        pictures += [array for _, array in drawn]
        numbers += [number for number, _ in drawn]
        styles += [position] * len(drawn)
        print("%-14s %5d pictures, %5d emojis" % (style, len(drawn), len({n for n, _ in drawn})),
              flush=True)
    mask = training_mask(pictures, numbers, styles)
    print("%d training pictures" % mask.sum())
    np.savez(os.path.join(args.data, "pictures.npz"), pictures=np.stack(pictures),
             classes=np.array(numbers), styles=np.array(styles), train=mask,
             names=np.array(list(STYLES)))


if __name__ == "__main__":
    main()
