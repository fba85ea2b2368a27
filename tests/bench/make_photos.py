#!/usr/bin/python3
"""Makes photographs of 12 megapixels, as a telephone takes them, out of smaller pictures.

    tests/bench/make_photos.py FOLDER OUT [MEGAPIXELS]

Enlarged, with the noise of a sensor put on, which is most of what such a file holds, and saved as
JPEG of quality 90 with halved chroma. Needs Pillow and numpy.
"""

import pathlib
import sys

import numpy
from PIL import Image

NOISE = 3.0  # standard deviation, in levels of 256
SUFFIXES = (".jpg", ".jpeg", ".png")


def enlarge(path, pixels, random):
    image = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("RGB")
    factor = (pixels / (image.width * image.height)) ** 0.5
    size = (round(image.width * factor), round(image.height * factor))
    levels = numpy.asarray(image.resize(size, Image.BICUBIC)).astype(numpy.float32)
    levels += NOISE * random.standard_normal(levels.shape, dtype=numpy.float32)
    return Image.fromarray(levels.round().clip(0, 255).astype(numpy.uint8))


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(f"usage: {sys.argv[0]} FOLDER OUT [MEGAPIXELS]")
    folder, out = map(pathlib.Path, sys.argv[1:3])
    pixels = 1e6 * float(sys.argv[3] if len(sys.argv) == 4 else 12)
    out.mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(1)
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        enlarge(path, pixels, random).save(out / f"{path.stem}.jpg", quality=90)


if __name__ == "__main__":
    main()
