#!/usr/bin/python3
"""Writes the goldens of test_image, test_resample and test_preprocess with Pillow.

Needs Debian's python3-pil, python3-numpy and libjpeg-turbo-progs (cjpeg, jpegtran). Made with
Pillow 9.4.0 and libjpeg-turbo 2.1.5; the tests demand equal bytes. Run from the root of the tree.

  tests/golden/pictures/*          one small file of each kind of JPEG and PNG
  tests/golden/pictures/list.txt   file width height crc32-of-rgb
  tests/golden/resample.txt        width height seed out_width out_height crc32 [bytes in hex]
  tests/golden/preprocess.txt      width height seed edge crop crc32 [bytes in hex]
The sources of the last two are noise that tests/unit/noise.h makes as well.
"""
import io
import os
import struct
import subprocess
import zlib

import numpy
from PIL import Image, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
PICTURES = os.path.join(HERE, "pictures")
HEX_BYTES = 12 * 12 * 3  # results up to this size are written out in full


def noise(width, height, seed):
    """Three kinds by seed % 3: noise, smooth with steps, black and white (which overshoots)."""
    i = numpy.arange(width * height * 3, dtype=numpy.uint32)
    h = i * numpy.uint32(2654435761) + numpy.uint32(seed * 40503)
    h ^= h >> numpy.uint32(15)
    h *= numpy.uint32(2246822519)
    h ^= h >> numpy.uint32(13)
    h >>= numpy.uint32(24)
    if seed % 3 == 1:
        h = (i // numpy.uint32(7) + (h >> numpy.uint32(4))) & numpy.uint32(255)
    if seed % 3 == 2:
        h = (h >> numpy.uint32(7)) * numpy.uint32(255)
    return h.astype(numpy.uint8).reshape(height, width, 3)


def crc(data):
    return "%08x" % zlib.crc32(data)


def result(data):
    return crc(data) + (" " + data.hex() if len(data) <= HEX_BYTES else "")


# ---- Resize and crop ----

RESAMPLE = [  # width, height, seed, out_width, out_height
    (5, 4, 1, 5, 4), (1, 1, 2, 1, 1), (1, 1, 3, 9, 7), (2, 1, 4, 7, 3), (3, 7, 5, 1, 1),
    (640, 1, 6, 11, 5), (1, 640, 7, 5, 11), (31, 17, 8, 31, 8), (31, 17, 9, 15, 17),
    (9, 9, 10, 10, 10), (10, 10, 11, 9, 9), (40, 30, 12, 160, 120), (401, 299, 13, 37, 53),
    (1000, 3, 14, 7, 70), (64, 64, 15, 63, 65), (2300, 2, 17, 1, 2), (33, 1500, 16, 34, 2),
]

PREPROCESS = [  # width, height, seed, edge, crop
    (1, 1, 1, 224, 224), (1, 1, 2, 5, 5), (1, 16000, 3, 224, 224), (16000, 1, 4, 224, 224),
    (1, 300, 5, 8, 7), (300, 1, 6, 8, 7), (2, 3, 7, 64, 64), (640, 480, 8, 224, 224),
    (480, 640, 9, 64, 64), (333, 500, 10, 224, 224), (500, 333, 11, 256, 224),
    (224, 224, 12, 224, 224), (225, 224, 13, 224, 224), (224, 227, 14, 224, 224),
    (229, 224, 15, 224, 224), (64, 67, 16, 64, 64), (63, 65, 17, 64, 64), (50, 37, 18, 224, 224),
    (2000, 31, 19, 64, 64), (31, 2000, 20, 64, 64), (1283, 957, 21, 336, 336),
    (1023, 769, 22, 12, 11), (17, 19, 23, 12, 12), (19, 17, 24, 13, 10), (7, 5, 25, 12, 9),
    (5, 7, 26, 11, 8), (300, 299, 27, 299, 288), (4, 4000, 28, 1, 1), (1500, 1500, 29, 32, 32),
    (100, 3, 30, 3, 2),
]


def crop_of(image, edge, crop):
    """torchvision's Resize(edge, BICUBIC) and CenterCrop(crop)."""
    width, height = image.size
    other = int(edge * max(width, height) / min(width, height))
    size = (edge, other) if width <= height else (other, edge)
    left = int(round((size[0] - crop) / 2.0))
    top = int(round((size[1] - crop) / 2.0))
    if size[0] * size[1] < 10_000_000:
        return image.resize(size, Image.BICUBIC).crop((left, top, left + crop, top + crop))
    # The whole would take gigabytes: Pillow resizes the middle of so long a picture by a strip.
    return crop_of_strip(image, size, left, top, crop)


def crop_of_strip(image, size, left, top, crop):
    """The picture is 1 pixel thin and enlarged, so the crop needs only a few pixels around its
    middle. The strip is cut so that it is enlarged by the very same factor."""
    along = 0 if size[0] > size[1] else 1
    factor = size[along] // image.size[along]
    assert factor * image.size[along] == size[along] and min(image.size) == 1
    offset = (left, top)[along]
    first = offset // factor - 8
    box = [0, 0, 1, 1]
    box[along], box[along + 2] = first, first + 24
    strip_size = [size[0], size[1]]
    strip_size[along] = 24 * factor
    strip = image.crop(box).resize(tuple(strip_size), Image.BICUBIC)
    corner = [left, top]
    corner[along] = offset - first * factor
    return strip.crop((corner[0], corner[1], corner[0] + crop, corner[1] + crop))


def write_resample():
    with open(os.path.join(HERE, "resample.txt"), "w") as out:
        for width, height, seed, out_width, out_height in RESAMPLE:
            image = Image.fromarray(noise(width, height, seed))
            data = image.resize((out_width, out_height), Image.BICUBIC).tobytes()
            print(width, height, seed, out_width, out_height, result(data), file=out)


def write_preprocess():
    with open(os.path.join(HERE, "preprocess.txt"), "w") as out:
        for width, height, seed, edge, crop in PREPROCESS:
            data = crop_of(Image.fromarray(noise(width, height, seed)), edge, crop).tobytes()
            print(width, height, seed, edge, crop, result(data), file=out)


# ---- PNG of every kind, by a writer that can do what Pillow cannot ----

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_rows(samples, depth):
    """samples [height, width, channels] -> filter bytes and packed rows."""
    out = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        else:
            bits = "".join(format(int(v), "0%db" % depth) for v in row)
            bits += "0" * (-len(bits) % 8)
            packed = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        out += b"\0" + packed
    return out


def png(samples, kind, depth, interlaced=False, palette=None, transparent=None):
    height, width = samples.shape[:2]
    data = b"\x89PNG\r\n\x1a\n"
    data += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))
    if palette is not None:
        data += chunk(b"PLTE", palette.astype(numpy.uint8).tobytes())
    if transparent is not None:
        data += chunk(b"tRNS", transparent)
    if interlaced:
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        rows = b"".join(png_rows(part, depth) for part in parts if part.size)
    else:
        rows = png_rows(samples, depth)
    return data + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def png_expected(samples, kind, depth, palette, transparent):
    """RGB of 8 bits: 16-bit samples lose their low byte, alpha goes over white."""
    height, width = samples.shape[:2]
    alpha = numpy.full((height, width), 255, numpy.int64)
    if kind == PALETTE:
        index = samples[:, :, 0]
        rgb = palette[index].astype(numpy.int64)
        if transparent is not None:
            table = numpy.full(256, 255, numpy.int64)
            table[:len(transparent)] = numpy.frombuffer(transparent, numpy.uint8)
            alpha = table[index]
    else:
        scaled = samples >> 8 if depth == 16 else samples * 255 // ((1 << depth) - 1)
        colours = 1 if kind in (GREY, GREY_ALPHA) else 3
        rgb = numpy.broadcast_to(scaled[:, :, :colours], (height, width, 3)).astype(numpy.int64)
        if kind in (GREY_ALPHA, RGBA):
            alpha = scaled[:, :, -1].astype(numpy.int64)
        if transparent is not None:
            key = numpy.frombuffer(transparent, ">u2")
            alpha = numpy.where((samples == key).all(axis=2), 0, 255)
    alpha = alpha[:, :, None]
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(numpy.uint8)


def pillow_rgb(data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = numpy.asarray(image.convert("RGBA")).astype(numpy.int64)
        rgb, alpha = rgba[:, :, :3], rgba[:, :, 3:]
        return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(numpy.uint8)
    return numpy.asarray(image.convert("RGB"))


def write_pngs(listing):
    random = numpy.random.default_rng(7)
    kinds = [(GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (RGB, 8), (RGB, 16),
             (PALETTE, 1), (PALETTE, 2), (PALETTE, 4), (PALETTE, 8), (GREY_ALPHA, 8),
             (GREY_ALPHA, 16), (RGBA, 8), (RGBA, 16)]
    names = {GREY: "grey", RGB: "rgb", PALETTE: "palette", GREY_ALPHA: "grey-alpha", RGBA: "rgba"}
    for kind, depth in kinds:
        for keyed in (False, True):
            if keyed and kind in (GREY_ALPHA, RGBA):
                continue
            for interlaced in (False, True):
                top = min(1 << depth, 200) if kind == PALETTE else 1 << depth
                samples = random.integers(0, top, (7, 11, CHANNELS[kind]))
                samples[2, 3] = samples[5, 8] = samples[0, 0]
                palette = random.integers(0, 256, (top, 3)) if kind == PALETTE else None
                transparent = None
                if keyed and kind == PALETTE:
                    transparent = random.integers(0, 256, max(top // 2, 1)).astype("u1").tobytes()
                elif keyed:
                    transparent = samples[0, 0].astype(">u2").tobytes()
                data = png(samples, kind, depth, interlaced, palette, transparent)
                expected = png_expected(samples, kind, depth, palette, transparent)
                # Pillow clips 16-bit grey at 255, and compares keys with samples scaled to 8 bits.
                odd_key = keyed and kind != PALETTE and depth != 8
                if not odd_key and (kind, depth) != (GREY, 16):
                    assert (pillow_rgb(data) == expected).all(), (kind, depth, keyed, interlaced)
                name = names[kind] + "-%d" % depth + ("-key" if keyed else "") + \
                    ("-interlaced" if interlaced else "") + ".png"
                listing.add(name, data, expected)
    saved = io.BytesIO()
    Image.fromarray(noise(33, 21, 1)).save(saved, "PNG", dpi=(72, 72))
    listing.add("pillow.png", saved.getvalue(), pillow_rgb(saved.getvalue()))


# ---- JPEG ----

def run(command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def cjpeg(pixels, *options):
    height, width = pixels.shape[:2]
    head = b"P5" if pixels.ndim == 2 else b"P6"
    ppm = head + b" %d %d 255\n" % (width, height) + pixels.tobytes()
    return run(["cjpeg", "-quality", "80", *options], ppm)


def segment(marker, data):
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def adobe(transform):
    return segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def without_jfif(data):
    assert data[2:4] == b"\xff\xe0"
    return data[:2] + data[4 + struct.unpack(">H", data[4:6])[0]:]


def as_rgb(data):
    plain = without_jfif(data)
    return plain[:2] + adobe(0) + plain[2:]


def cmyk(width, height, **options):
    ink = numpy.dstack([noise(width, height, 4), noise(width, height, 7)[:, :, :1]])
    saved = io.BytesIO()
    Image.fromarray(ink, "CMYK").save(saved, "JPEG", quality=80, **options)
    return saved.getvalue()


def write_jpegs(listing):
    colour, grey = noise(29, 19, 1), noise(29, 19, 1)[:, :, 0]
    plain = cjpeg(colour)
    with open("/tmp/make_preprocess.scans", "w") as scans:
        scans.write("0;\n1;\n2;\n")
    files = {
        "grey": cjpeg(grey), "grey-progressive": cjpeg(grey, "-progressive"), "420": plain,
        "444": cjpeg(colour, "-sample", "1x1"), "422": cjpeg(colour, "-sample", "2x1"),
        "440": cjpeg(colour, "-sample", "1x2"), "411": cjpeg(colour, "-sample", "4x1"),
        "410": cjpeg(colour, "-sample", "4x2"), "progressive": cjpeg(colour, "-progressive"),
        "arithmetic": cjpeg(colour, "-arithmetic"),
        "arithmetic-progressive": cjpeg(colour, "-arithmetic", "-progressive"),
        "restart": cjpeg(colour, "-restart", "1B"),
        "three-scans": cjpeg(colour, "-scans", "/tmp/make_preprocess.scans"),
        "one-pixel": cjpeg(noise(1, 1, 1)), "wide": cjpeg(noise(200, 1, 1)),
        "tall": cjpeg(noise(1, 200, 1)), "rgb": as_rgb(plain), "cmyk": cmyk(29, 19),
        "cmyk-progressive": cmyk(29, 19, progressive=True),
        "ycck": cmyk(29, 19).replace(adobe(0), adobe(2)),
        "comment": plain[:20] + segment(0xFE, b"hello" * 9) + plain[20:],
        "trailing": plain + b"\0\1\2 after the end",
        "extraneous": plain[:-2] + b"\x12\x34\x56" + plain[-2:],
    }
    assert files["ycck"] != files["cmyk"]
    for name, data in files.items():
        listing.add(name + ".jpg", data, pillow_rgb(data))
    os.remove("/tmp/make_preprocess.scans")


class Listing:
    """Files in a folder of their own, with a list of what they show."""

    def __init__(self, folder=PICTURES):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.lines = []

    def add(self, name, data, rgb):
        with open(os.path.join(self.folder, name), "wb") as out:
            out.write(data)
        self.lines.append("%s %d %d %s" % (name, rgb.shape[1], rgb.shape[0], crc(rgb.tobytes())))

    def write(self):
        with open(os.path.join(self.folder, "list.txt"), "w") as out:
            out.write("\n".join(sorted(self.lines)) + "\n")


def main():
    write_resample()
    write_preprocess()
    listing = Listing()
    write_pngs(listing)
    write_jpegs(listing)
    listing.write()


if __name__ == "__main__":
    main()
