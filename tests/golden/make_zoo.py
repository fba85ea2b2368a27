#!/usr/bin/python3
"""Writes the zoo: pictures as they come from outside, whole ones and broken ones, for test_zoo.

Needs Debian's python3-pil, python3-numpy and libjpeg-turbo-progs. Made with Pillow 9.4.0,
libjpeg-turbo 2.1.5 and libwebp 1.2.4. Run from the root of the tree.

  tests/golden/zoo/list.txt     file width height crc32-of-rgb: what Pillow makes of it, upright and
                                with alpha over white; the tests demand equal bytes
  tests/golden/zoo/scaled.txt   file edge width height crc32-of-rgb: a JPEG that is decoded smaller,
                                where at least edge pixels of the shorter edge are wanted
  tests/golden/zoo/refused.txt  file status-of-HTTP part-of-the-message
  tests/fuzz/corpus/{jpeg,png,webp,exif}/*  some of them, to start fuzzing from

More kinds of PNG and JPEG are in tests/golden/pictures (make_preprocess.py).
"""
import io
import os
import struct
import zlib

import numpy
from PIL import Image, ImageOps

from make_preprocess import (
    GREY, HERE, PALETTE, PICTURES, RGB, RGBA, Listing, chunk, cjpeg, cmyk, crc, noise, pillow_rgb,
    segment,
)

ZOO = os.path.join(HERE, "zoo")
SCANS = 100  # the limit that the tests set


class Zoo(Listing):
    def __init__(self):
        super().__init__(ZOO)
        self.refused = []
        self.scaled = []

    def take(self, name, data, plain=None):
        """A file that is read. plain: the same without what Pillow would fall over, or act on
        where we do not."""
        self.add(name, data, pillow_rgb(data if plain is None else plain))

    def scale(self, name):
        """All sizes of a JPEG that was taken, by Pillow's own way to ask libjpeg for them."""
        with open(os.path.join(self.folder, name), "rb") as file:
            data = file.read()
        for divisor in (1, 2, 4, 8):
            image = Image.open(io.BytesIO(data))
            edge = max(1, min(image.size) // divisor)
            image.draft(None, tuple(max(1, side // divisor) for side in image.size))
            rgb = numpy.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            self.scaled.append("%s %d %d %d %s" % (name, edge, rgb.shape[1], rgb.shape[0],
                                                   crc(rgb.tobytes())))

    def refuse(self, name, data, status, part):
        with open(os.path.join(self.folder, name), "wb") as out:
            out.write(data)
        self.refused.append("%s %d %s" % (name, status, part))

    def write(self):
        super().write()
        with open(os.path.join(self.folder, "scaled.txt"), "w") as out:
            out.write("\n".join(self.scaled) + "\n")
        with open(os.path.join(self.folder, "refused.txt"), "w") as out:
            out.write("\n".join(sorted(self.refused)) + "\n")


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def patched(data, offset, new):
    return data[:offset] + new + data[offset + len(new):]


def colour(width=23, height=13, seed=1):
    return Image.fromarray(noise(width, height, seed))


def see_through(width=23, height=13):
    """RGBA, alpha from 0 to 255."""
    alpha = numpy.arange(width * height, dtype=numpy.uint32).reshape(height, width, 1) * 7
    pixels = numpy.dstack([noise(width, height, 1), (alpha & 255).astype(numpy.uint8)])
    return Image.fromarray(pixels, "RGBA")


# ---- EXIF ----


def tiff(orientation, order="<", kind=3, count=1, tag=0x0112):
    """Two entries, in the order of their tags as it should be."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + "HH", orientation, 0) if kind == 3 else \
        struct.pack(order + "I", orientation)
    entries = struct.pack(order + "HHIHH", 0x0100, 3, 1, 23, 0)
    entries += struct.pack(order + "HHI", tag, kind, count) + value
    return mark + struct.pack(order + "IH", 8, 2) + entries + struct.pack(order + "I", 0)


def jpeg_with_exif(data, payload, name=b"Exif\0\0"):
    return data[:2] + segment(0xE1, name + payload) + data[2:]


def png_with_exif(data, payload, before=b"IDAT"):
    at = data.index(before) - 4
    return data[:at] + chunk(b"eXIf", payload) + data[at:]


def broken_exif():
    good = tiff(6)
    return {
        "empty": b"", "one-byte": b"I", "no-directory": good[:8], "cut-count": good[:9],
        "cut-entry": good[:24], "cut-value": good[:31], "byte-order": b"IM" + good[2:],
        "magic": b"II+\0" + good[4:], "offset-past-end": patched(good, 4, b"\xff\xff\0\0"),
        "offset-at-end": patched(good, 4, struct.pack("<I", len(good))),
        "offset-huge": patched(good, 4, b"\xff\xff\xff\xff"),
        "offset-wraps": patched(good, 4, b"\xfe\xff\xff\xff"),
        "count-huge": patched(tiff(6, tag=0x0113), 8, b"\xff\xff"),
        "zero": tiff(0), "nine": tiff(9), "large": tiff(65535), "negative": tiff(0x8006),
        "bytes": tiff(6, kind=1), "two-values": tiff(6, count=2), "no-value": tiff(6, count=0),
    }


def add_orientations(zoo):
    plain = {"jpg": cjpeg(noise(23, 13, 1)), "png": saved(colour(), "PNG")}
    for turn in range(1, 9):
        zoo.take("exif-%d.jpg" % turn, jpeg_with_exif(plain["jpg"], tiff(turn)))
        zoo.take("exif-%d-big-endian.jpg" % turn, jpeg_with_exif(plain["jpg"], tiff(turn, ">")))
        zoo.take("exif-%d.png" % turn, png_with_exif(plain["png"], tiff(turn, ">")))
        zoo.take("exif-%d.webp" % turn,
                 saved(colour(), "WEBP", lossless=True, exif=tiff(turn)))
        zoo.take("exif-%d-prefixed.webp" % turn,
                 saved(see_through(), "WEBP", quality=80, exif=b"Exif\0\0" + tiff(turn, ">")))
    big = noise(70, 45, 1)
    for turn in (2, 3, 5, 6, 7, 8):
        zoo.take("exif-%d-blocks.png" % turn,
                 png_with_exif(saved(Image.fromarray(big), "PNG"), tiff(turn)))
    zoo.take("exif-6-one-pixel.png", png_with_exif(saved(colour(1, 1), "PNG"), tiff(6)))
    zoo.take("exif-5-row.png", png_with_exif(saved(colour(50, 1), "PNG"), tiff(5)))
    zoo.take("exif-8-column.png", png_with_exif(saved(colour(1, 50), "PNG"), tiff(8)))
    zoo.take("exif-after-data.png", png_with_exif(plain["png"], tiff(8), b"IEND"))
    zoo.take("exif-7-alpha.png", png_with_exif(saved(see_through(), "PNG"), tiff(7)))
    zoo.take("exif-6-progressive.jpg",
             jpeg_with_exif(cjpeg(noise(23, 13, 1), "-progressive"), tiff(6)))
    zoo.take("exif-6-cmyk.jpg", jpeg_with_exif(cmyk(23, 13), tiff(6)))
    zoo.take("exif-6-grey.jpg", jpeg_with_exif(cjpeg(noise(23, 13, 1)[:, :, 0]), tiff(6)))
    jpeg = plain["jpg"]
    first = jpeg_with_exif(jpeg, tiff(3))
    zoo.take("exif-twice.jpg", first[:2] + segment(0xE1, b"Exif\0\0" + tiff(6)) + first[2:])
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    zoo.take("exif-after-xmp.jpg", jpeg_with_exif(jpeg_with_exif(jpeg, tiff(8)), xmp, b""))
    zoo.take("exif-after-comment.jpg",
             jpeg[:2] + segment(0xFE, b"\xff\xe1 in a comment") + first[2:])
    fill = jpeg_with_exif(jpeg, tiff(6))
    zoo.take("exif-fill-bytes.jpg", fill[:2] + b"\xff\xff\xff" + fill[2:])
    trailing = chunk(b"eXIf", tiff(6))
    zoo.take("exif-after-the-end.png", plain["png"] + trailing)
    webp = saved(colour(), "WEBP", lossless=True)
    zoo.take("exif-after-the-end.webp",
             webp + b"EXIF" + struct.pack("<I", len(tiff(6))) + tiff(6))
    for name, payload in broken_exif().items():
        zoo.take("exif-broken-%s.jpg" % name, jpeg_with_exif(jpeg, payload), jpeg)
    for name in ("empty", "cut-value", "offset-huge", "count-huge"):
        payload = broken_exif()[name]
        zoo.take("exif-broken-%s.webp" % name,
                 extended(8, (23, 13), webp[12:], riff_chunk(b"EXIF", payload)), webp)
        if payload:
            zoo.take("exif-broken-%s.png" % name, png_with_exif(plain["png"], payload),
                     plain["png"])
    zoo.take("exif-no-padding.jpg", jpeg_with_exif(jpeg, tiff(6), b"Exif\0"), jpeg)


# ---- WebP ----


def riff_chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def riff(*chunks):
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def three_bytes(number):
    return struct.pack("<I", number)[:3]


def extended(flags, size, *chunks):
    """flags: 2 animation, 4 XMP, 8 EXIF, 16 alpha, 32 colour profile."""
    canvas = three_bytes(size[0] - 1) + three_bytes(size[1] - 1)
    return riff(riff_chunk(b"VP8X", struct.pack("<I", flags) + canvas), *chunks)


def frame(data, left, top, size, way=0):
    """One frame of an animation out of a whole file; way: 1 dispose, 2 do not blend."""
    assert left % 2 == 0 and top % 2 == 0
    head = three_bytes(left // 2) + three_bytes(top // 2)
    head += three_bytes(size[0] - 1) + three_bytes(size[1] - 1) + three_bytes(100)
    at = 12 if data[12:16] != b"VP8X" else 30
    return riff_chunk(b"ANMF", head + bytes([way]) + data[at:])


def animation(size, *frames):
    return extended(2 | 16, size, riff_chunk(b"ANIM", b"\xff\0\0\xff\0\0"), *frames)


class Bits:
    """Numbers of some bits each, lowest first."""

    def __init__(self):
        self.number = self.count = 0

    def put(self, value, bits):
        self.number |= value << self.count
        self.count += bits

    def to_bytes(self):
        return self.number.to_bytes((self.count + 7) // 8, "little")


def one_colour(width, height):
    """Lossless WebP of one colour: no bit for any pixel, however many there are."""
    out = Bits()
    out.put(0x2F, 8)
    out.put(width - 1, 14)
    out.put(height - 1, 14)
    out.put(0, 1 + 3)  # no alpha, version
    out.put(0, 1 + 1 + 1)  # no transform, no colour cache, no meta codes
    for value in (200, 30, 90, 255):  # green, red, blue, alpha: a code of one symbol
        out.put(0b101, 3)
        out.put(value, 8)
    out.put(0b0001, 4)  # distance: symbol 0, of one bit
    return riff(riff_chunk(b"VP8L", out.to_bytes()))


def add_webps(zoo):
    for quality in (1, 50, 100):
        zoo.take("lossy-%d.webp" % quality, saved(colour(), "WEBP", quality=quality))
    zoo.take("lossy-method-0.webp", saved(colour(), "WEBP", quality=75, method=0))
    zoo.take("lossy-method-6.webp", saved(colour(64, 48), "WEBP", quality=75, method=6))
    zoo.take("lossy-noise.webp", saved(colour(31, 33, 3), "WEBP", quality=90))
    zoo.take("lossy-one-pixel.webp", saved(colour(1, 1), "WEBP", quality=75))
    zoo.take("lossy-row.webp", saved(colour(200, 1), "WEBP", quality=75))
    zoo.take("lossy-column.webp", saved(colour(1, 200), "WEBP", quality=75))
    zoo.take("lossy-alpha.webp", saved(see_through(), "WEBP", quality=75))
    zoo.take("lossy-alpha-coarse.webp",
             saved(see_through(), "WEBP", quality=75, alpha_quality=10))
    zoo.take("lossless.webp", saved(colour(), "WEBP", lossless=True))
    zoo.take("lossless-noise.webp", saved(colour(31, 33, 3), "WEBP", lossless=True))
    zoo.take("lossless-grey.webp", saved(colour().convert("L"), "WEBP", lossless=True))
    zoo.take("lossless-few-colours.webp",
             saved(colour().quantize(5).convert("RGB"), "WEBP", lossless=True))
    zoo.take("lossless-alpha.webp", saved(see_through(), "WEBP", lossless=True))
    zoo.take("lossless-alpha-exact.webp", saved(see_through(), "WEBP", lossless=True, exact=True))
    zoo.take("lossless-one-pixel.webp", saved(colour(1, 1), "WEBP", lossless=True))
    zoo.take("lossless-row.webp", saved(colour(300, 1), "WEBP", lossless=True))
    zoo.take("one-colour.webp", one_colour(40, 30))
    zoo.take("profile.webp", saved(colour(), "WEBP", lossless=True, icc_profile=b"\0" * 131))
    zoo.take("xmp.webp", saved(colour(), "WEBP", quality=60, xmp=b"<x:xmpmeta/>"))
    whole = saved(colour(), "WEBP", lossless=True)
    zoo.take("trailing.webp", whole + b"after the end")
    zoo.take("unknown-chunk.webp", extended(0, (23, 13), whole[12:], riff_chunk(b"ABCD", b"odd")))


def add_animated_webps(zoo):
    parts = [colour(23, 13, seed) for seed in (1, 4, 7)]
    more = {"save_all": True, "append_images": parts[1:], "duration": 50}
    zoo.take("animated-lossless.webp", saved(parts[0], "WEBP", lossless=True, **more))
    zoo.take("animated-lossy.webp", saved(parts[0], "WEBP", quality=70, **more))
    zoo.take("animated-alpha.webp", saved(see_through(), "WEBP", lossless=True, **more))
    zoo.take("animated-exif.webp", saved(parts[0], "WEBP", lossless=True, exif=tiff(6), **more))
    small, size = saved(colour(9, 7), "WEBP", lossless=True), (9, 7)
    alpha = saved(see_through(9, 7), "WEBP", lossless=True)
    lossy_alpha = saved(see_through(9, 7), "WEBP", quality=80)
    lossy = saved(colour(9, 7), "WEBP", quality=80)
    second = frame(small, 0, 0, size)
    for name, first in (("lossless", small), ("lossy", lossy), ("alpha", alpha),
                        ("lossy-alpha", lossy_alpha)):
        zoo.take("animated-small-%s.webp" % name,
                 animation((23, 13), frame(first, 6, 4, size), second))
    zoo.take("animated-corner.webp", animation((23, 13), frame(small, 14, 6, size), second))
    zoo.take("animated-dispose.webp", animation((23, 13), frame(alpha, 0, 0, size, 3), second))
    zoo.take("animated-one-frame.webp", animation((9, 7), frame(small, 0, 0, size)))
    zoo.take("animated-frame-says-wider.webp",
             animation((23, 13), frame(small, 2, 2, (11, 7)), second))


def add_broken_webps(zoo):
    whole = saved(colour(), "WEBP", lossless=True)
    lossy = saved(colour(), "WEBP", quality=80)
    alpha = saved(see_through(), "WEBP", quality=80)
    small, size = saved(colour(9, 7), "WEBP", lossless=True), (9, 7)
    zoo.refuse("cut.webp", whole[:-40], 422, "cut short")
    zoo.refuse("cut-lossy.webp", lossy[:-40], 422, "cut short")
    zoo.refuse("cut-head.webp", whole[:14], 422, "cut short")
    zoo.refuse("cut-one-byte.webp", whole[:-1], 422, "cut short")
    zoo.refuse("only-head.webp", whole[:12], 422, "cut short")
    zoo.refuse("size-too-large.webp", patched(whole, 4, struct.pack("<I", len(whole) + 90)), 422,
               "cut short")
    zoo.refuse("size-too-small.webp", patched(whole, 4, struct.pack("<I", 60)), 422, "WebP: ")
    zoo.refuse("size-huge.webp", patched(whole, 4, b"\xff\xff\xff\xff"), 422, "damaged")
    zoo.refuse("cut-inside.webp", riff(riff_chunk(b"VP8L", whole[20:-60])), 422, "WebP: ")
    zoo.refuse("cut-inside-lossy.webp", riff(riff_chunk(b"VP8 ", lossy[20:-60])), 422, "WebP: ")
    zoo.refuse("no-chunks.webp", riff(), 422, "WebP: ")
    zoo.refuse("no-picture.webp", extended(0, (23, 13)), 422, "WebP: ")
    zoo.refuse("unknown-codec.webp", riff(riff_chunk(b"VP9 ", whole[20:])), 422, "WebP: ")
    zoo.refuse("signature.webp", patched(whole, 20, b"\x2e"), 422, "WebP: ")
    zoo.refuse("version.webp", patched(whole, 24, bytes([whole[24] | 0xE0])), 422, "WebP: ")
    zoo.refuse("start-code.webp", patched(lossy, 23, b"\x9d\x01\x2b"), 422, "WebP: ")
    zoo.refuse("zero-width.webp", patched(lossy, 26, b"\0\0"), 422, "WebP: ")
    zoo.refuse("zero-height.webp", patched(lossy, 28, b"\0\0"), 422, "WebP: ")
    zoo.refuse("canvas-larger.webp", extended(0, (40, 13), whole[12:]), 422, "WebP: ")
    zoo.refuse("canvas-smaller.webp", extended(0, (10, 13), whole[12:]), 422, "WebP: ")
    zoo.refuse("frame-outside.webp", animation((23, 13), frame(small, 16, 6, size)), 422, "WebP: ")
    zoo.refuse("frame-far-outside.webp", animation((23, 13), frame(small, 33554430, 6, size)), 422,
               "WebP: ")
    zoo.refuse("no-frames.webp", animation((23, 13)), 422, "WebP: ")
    zoo.refuse("alpha-alone.webp",
               extended(16, (23, 13), alpha[30:alpha.index(b"VP8 ", 30)]), 422, "WebP: ")
    at = alpha.index(b"ALPH") + 8
    zoo.refuse("alpha-method.webp", patched(alpha, at, b"\x03" + b"\xff" * 8), 422, "WebP: ")
    zoo.refuse("bomb.webp", one_colour(16383, 16383), 413, "16383 x 16383 pixels are over")
    zoo.refuse("bomb-canvas.webp",
               animation((1 << 24, 200), frame(small, 0, 0, size)), 413,
               "16777216 x 200 pixels are over")
    zoo.refuse("lying-head.webp", patched(whole, 21, b"\xff\xff\xff\x0f"), 413,
               "16384 x 16384 pixels are over")


# ---- PNG ----


def ihdr(width, height, depth=8, kind=RGB, compression=0, filters=0, interlaced=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, compression, filters,
                                      interlaced))


def with_ihdr(data, *fields, **named):
    return data[:8] + ihdr(*fields, **named) + data[33:]


def rows(height, row):
    return chunk(b"IDAT", zlib.compress((b"\0" + row) * height, 9))


HEAD, END = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")


def add_pngs(zoo):
    parts = [colour(23, 13, seed) for seed in (1, 4, 7)]
    more = {"save_all": True, "append_images": parts[1:], "duration": 50}
    zoo.take("animated.png", saved(parts[0], "PNG", **more))
    zoo.take("animated-default-image.png", saved(parts[0], "PNG", default_image=True, **more))
    zoo.take("animated-alpha.png", saved(see_through(), "PNG", **more))
    zoo.take("animated-exif.png",
             png_with_exif(saved(parts[0], "PNG", **more), tiff(6), before=b"acTL"))
    whole = saved(colour(), "PNG")
    zoo.take("trailing.png", whole + b"after the end")
    zoo.take("many-chunks.png",
             whole[:33] + chunk(b"tEXt", b"Comment\0" + b"x" * 200) * 40 + whole[33:])
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 100_000))
    zoo.take("large-text.png", whole[:33] + text + whole[33:])
    split = b"".join(chunk(b"IDAT", bytes([byte])) for byte in zlib.compress((b"\0abc" * 4)))
    zoo.take("byte-by-byte.png", HEAD + ihdr(1, 4) + split + END)
    zoo.take("empty-data-chunk.png", whole[:33] + chunk(b"IDAT", b"") + whole[33:])
    zoo.take("profile.png", saved(colour(), "PNG", icc_profile=b"\0" * 131))
    zoo.take("gamma.png", whole[:33] + chunk(b"gAMA", struct.pack(">I", 10000)) + whole[33:])


def add_broken_pngs(zoo):
    whole = saved(colour(), "PNG")
    data_at = whole.index(b"IDAT")
    zoo.refuse("cut.png", whole[:-100], 422, "cut short")
    zoo.refuse("no-end.png", whole[:-12], 422, "cut short")
    zoo.refuse("cut-head.png", whole[:20], 422, "cut short")
    zoo.refuse("signature-only.png", whole[:8], 422, "cut short")
    zoo.refuse("crc-of-data.png", patched(whole, data_at + 40, bytes([whole[data_at + 40] ^ 1])),
               422, "PNG: ")
    zoo.refuse("crc-of-head.png", patched(whole, 30, bytes([whole[30] ^ 1])), 422, "PNG: ")
    text = chunk(b"tEXt", b"Comment\0x")[:-1] + b"\0"
    zoo.refuse("crc-of-text.png", whole[:33] + text + whole[33:], 422, "PNG: ")
    zoo.refuse("zero-width.png", with_ihdr(whole, 0, 13), 422, "PNG: ")
    zoo.refuse("zero-height.png", with_ihdr(whole, 23, 0), 422, "PNG: ")
    zoo.refuse("negative-width.png", with_ihdr(whole, 0x80000017, 13), 422, "PNG: ")
    zoo.refuse("depth-3.png", with_ihdr(whole, 23, 13, 3), 422, "PNG: ")
    zoo.refuse("kind-5.png", with_ihdr(whole, 23, 13, 8, 5), 422, "PNG: ")
    zoo.refuse("kind-and-depth.png", with_ihdr(whole, 23, 13, 16, PALETTE), 422, "PNG: ")
    zoo.refuse("compression-1.png", with_ihdr(whole, 23, 13, compression=1), 422, "PNG: ")
    zoo.refuse("filter-method-1.png", with_ihdr(whole, 23, 13, filters=1), 422, "PNG: ")
    zoo.refuse("interlace-2.png", with_ihdr(whole, 23, 13, interlaced=2), 422, "PNG: ")
    zoo.refuse("head-says-taller.png", with_ihdr(whole, 23, 40), 422, "PNG: ")
    zoo.refuse("head-says-wider.png", with_ihdr(whole, 400, 13), 422, "PNG: ")
    zoo.refuse("filter-9.png", HEAD + ihdr(2, 2) +
               chunk(b"IDAT", zlib.compress(b"\0abcdef\x09abcdef")) + END, 422, "PNG: ")
    zoo.refuse("no-data.png", HEAD + ihdr(2, 2) + END, 422, "PNG: ")
    zoo.refuse("no-head.png", HEAD + rows(2, b"abcdef") + END, 422, "PNG: ")
    zoo.refuse("no-palette.png", HEAD + ihdr(2, 2, 8, PALETTE) + rows(2, b"\0\1") + END, 422,
               "PNG: ")
    zoo.refuse("palette-of-257.png", HEAD + ihdr(2, 2, 8, PALETTE) +
               chunk(b"PLTE", b"abc" * 257) + rows(2, b"\0\1") + END, 422, "PNG: ")
    zoo.refuse("not-deflate.png", HEAD + ihdr(2, 2) + chunk(b"IDAT", b"not deflate") + END, 422,
               "PNG: ")
    zoo.refuse("huge-chunk.png", whole[:33] + b"\x7f\xff\xff\xfftEXtComment", 422, "cut short")
    zoo.refuse("chunk-over-limit.png", whole[:33] + b"\xff\xff\xff\xfftEXtComment", 422, "PNG: ")
    zoo.refuse("bomb.png", HEAD + ihdr(20000, 20000, 8, RGBA) + rows(1, b"") + END, 413,
               "20000 x 20000 pixels are over")
    zoo.refuse("bomb-grey.png", HEAD + ihdr(2**31 - 1, 2**31 - 1, 1, GREY) + rows(1, b"") + END,
               413, "pixels are over")


# ---- JPEG ----


def frame_at(data):
    return max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))


def scans_of(data):
    """A progressive file cut before each scan, tables of it included."""
    at, found = 2, []
    begin = None
    while data[at:at + 2] != b"\xff\xd9":
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2:at + 4])[0]
        if marker in (0xC4, 0xDA) and begin is None:
            begin = at
        at += 2 + length
        if marker == 0xDA:
            while data[at] != 0xFF or data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
                at += 1
            found.append(data[begin:at])
            begin = None
    return data[:data.index(found[0])], found


def add_jpegs(zoo):
    plain = cjpeg(noise(23, 13, 1))
    for name, *options in (("444", "-sample", "1x1"), ("422", "-sample", "2x1"),
                           ("420", "-sample", "2x2"), ("411", "-sample", "4x1"),
                           ("progressive", "-progressive"), ("arithmetic", "-arithmetic")):
        zoo.take("scale-%s.jpg" % name, cjpeg(noise(75, 53, 1), *options))
        zoo.scale("scale-%s.jpg" % name)
    for name in ("exif-6.jpg", "exif-6-cmyk.jpg", "exif-6-grey.jpg"):
        zoo.scale(name)
    zoo.take("optimised.jpg", cjpeg(noise(23, 13, 1), "-optimize"))
    zoo.take("quality-1.jpg", cjpeg(noise(23, 13, 1), "-quality", "1", "-baseline"))
    zoo.take("extended.jpg", patched(plain, frame_at(plain) + 1, b"\xc1"))
    zoo.take("quality-100.jpg", cjpeg(noise(23, 13, 1), "-quality", "100", "-sample", "1x1"))
    zoo.take("arithmetic-grey.jpg", cjpeg(noise(23, 13, 1)[:, :, 0], "-arithmetic"))
    zoo.take("pillow-progressive.jpg", saved(colour(64, 48), "JPEG", progressive=True))
    zoo.take("profile.jpg", saved(colour(), "JPEG", icc_profile=b"\0" * 131))
    zoo.take("segment-of-1.jpg", plain[:2] + b"\xff\xe2\0\1" + plain[2:])
    height_at = frame_at(plain) + 5
    zoo.take("head-says-taller.jpg", patched(plain, height_at, b"\0\x20"))
    zoo.take("head-says-lower.jpg", patched(plain, height_at, b"\0\x05"))
    start = plain.index(b"\xff\xc4")
    end = plain.index(b"\xff\xda")
    zoo.take("no-huffman-tables.jpg", plain[:start] + plain[end:])
    progressive = cjpeg(noise(23, 13, 1), "-progressive")
    head, scans = scans_of(progressive)
    most = scans + [scans[-1]] * (SCANS - len(scans))
    zoo.take("as-many-scans-as-may-be.jpg", head + b"".join(most) + b"\xff\xd9")
    zoo.refuse("too-many-scans.jpg", head + b"".join(most + [scans[-1]]) + b"\xff\xd9", 413,
               "more scans than the limit of %d" % SCANS)


def add_broken_jpegs(zoo):
    plain = cjpeg(noise(23, 13, 1))
    at = frame_at(plain)
    zoo.refuse("cut.jpg", plain[:-60], 422, "cut short")
    zoo.refuse("no-end.jpg", plain[:-2], 422, "cut short")
    zoo.refuse("cut-head.jpg", plain[:at + 7], 422, "cut short")
    zoo.refuse("signature-only.jpg", b"\xff\xd8\xff", 422, "cut short")
    zoo.refuse("no-picture.jpg", b"\xff\xd8\xff\xd9", 422, "JPEG: ")
    zoo.refuse("no-scan.jpg", plain[:plain.index(b"\xff\xda")] + b"\xff\xd9", 422, "JPEG: ")
    zoo.refuse("zero-width.jpg", patched(plain, at + 7, b"\0\0"), 422, "JPEG: ")
    zoo.refuse("zero-height.jpg", patched(plain, at + 5, b"\0\0"), 422, "JPEG: ")
    start = plain.index(b"\xff\xdb")
    zoo.refuse("no-quantisation.jpg", plain[:start] + plain[at:], 422, "JPEG: ")
    zoo.refuse("two-frames.jpg", plain[:at] + plain[at:at + 19] + plain[at:], 422, "JPEG: ")
    zoo.refuse("sampling-5.jpg", patched(plain, at + 11, b"\x55"), 422, "JPEG: ")
    zoo.refuse("segment-past-the-end.jpg", plain[:2] + b"\xff\xe1\xff\xffExif\0\0", 422,
               "cut short")
    zoo.refuse("12-bits.jpg", patched(plain, at + 4, b"\x0c"), 415, "JPEG: ")
    zoo.refuse("lossless.jpg", patched(plain, at + 1, b"\xc3"), 415, "JPEG: ")
    two = segment(0xC0, struct.pack(">BHHB", 8, 13, 23, 2) + b"\1\x11\0\2\x11\0")
    scan = segment(0xDA, b"\2\1\0\2\x11\0\x3f\0")
    start = plain.index(b"\xff\xda")
    zoo.refuse("two-components.jpg", plain[:at] + two + plain[at + 19:start] + scan +
               plain[start + 14:], 415,
               "2 components, expected 1, 3 or 4")
    zoo.refuse("bomb.jpg", patched(plain, at + 5, struct.pack(">HH", 65500, 65500)), 413,
               "65500 x 65500 pixels are over")


# ---- What is not read at all ----


def add_foreign(zoo):
    def say(name):
        return name + " pictures are not supported; send JPEG, PNG or WebP"

    ftyp = b"\0\0\0\x18ftyp"
    zoo.refuse("foreign.gif", saved(colour().quantize(16), "GIF"), 415, say("GIF"))
    zoo.refuse("foreign.bmp", saved(colour(5, 4), "BMP"), 415, say("BMP"))
    zoo.refuse("foreign.tif", saved(colour(5, 4), "TIFF"), 415, say("TIFF"))
    zoo.refuse("foreign-big-endian.tif", b"MM\0*\0\0\0\x08", 415, say("TIFF"))
    zoo.refuse("foreign.ico", saved(colour(16, 16), "ICO", sizes=[(16, 16)]), 415, say("ICO"))
    zoo.refuse("foreign.jp2", saved(colour(5, 4), "JPEG2000"), 415, say("JPEG 2000"))
    zoo.refuse("foreign.heic", ftyp + b"heic\0\0\0\0mif1heic", 415, say("HEIC"))
    zoo.refuse("foreign-heix.heic", ftyp + b"heix\0\0\0\0mif1heix", 415, say("HEIC"))
    zoo.refuse("foreign.heif", ftyp + b"mif1\0\0\0\0mif1heic", 415, say("HEIF"))
    zoo.refuse("foreign.avif", ftyp + b"avif\0\0\0\0mif1miaf", 415, say("AVIF"))
    zoo.refuse("foreign-sequence.avif", ftyp + b"avis\0\0\0\0mif1miaf", 415, say("AVIF"))
    zoo.refuse("foreign.jxl", b"\xff\x0a\x7a\x28\xb2", 415, say("JPEG XL"))
    zoo.refuse("foreign-box.jxl", b"\0\0\0\x0cJXL \r\n\x87\n", 415, say("JPEG XL"))
    zoo.refuse("foreign.psd", b"8BPS\0\1", 415, say("PSD"))
    zoo.refuse("foreign.pdf", b"%PDF-1.7\n", 415, say("PDF"))
    zoo.refuse("foreign.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, say("SVG"))
    zoo.refuse("foreign.wav", riff()[:8] + b"WAVEfmt ", 415, "no JPEG, PNG or WebP picture")
    zoo.refuse("foreign.txt", b"hello", 415, "no JPEG, PNG or WebP picture")


# ---- Seeds for fuzzing ----

SEEDS = {  # of each format, in tests/golden/pictures or in the zoo
    "jpeg": ["420", "arithmetic", "arithmetic-progressive", "cmyk", "grey", "progressive",
             "restart", "ycck", "exif-6", "extended", "no-huffman-tables"],
    "png": ["grey-1", "grey-16", "palette-4-key-interlaced", "rgb-8-key", "rgba-16-interlaced",
            "grey-alpha-8", "exif-6", "animated", "profile", "byte-by-byte"],
    "webp": ["lossy-50", "lossy-alpha", "lossless", "lossless-few-colours", "lossless-alpha",
             "one-colour", "exif-6", "animated-lossless", "animated-small-lossy-alpha", "profile"],
}
FORMATS = {"jpeg": (1, ".jpg"), "png": (2, ".png"), "webp": (3, ".webp")}
PAYLOAD = 4  # what the first byte of a seed for EXIF means, as do the numbers of the formats


def write_seed(corpus, name, data):
    folder = os.path.join(HERE, "../fuzz/corpus", corpus)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as out:
        out.write(data)


def write_seeds():
    for corpus, names in SEEDS.items():
        number, end = FORMATS[corpus]
        for name in names:
            paths = [os.path.join(folder, name + end) for folder in (ZOO, PICTURES)]
            path = next(path for path in paths if os.path.exists(path))
            with open(path, "rb") as file:
                data = file.read()
            write_seed(corpus, name + end, data)
            if name == "exif-6":
                write_seed("exif", name + end, bytes([number]) + data)
    for order, name in (("<", "little-endian"), (">", "big-endian")):
        write_seed("exif", name, bytes([PAYLOAD]) + b"Exif\0\0" + tiff(6, order))
    for name in ("cut-value", "offset-huge", "count-huge"):
        write_seed("exif", name, bytes([PAYLOAD]) + broken_exif()[name])


def main():
    zoo = Zoo()
    add_orientations(zoo)
    add_webps(zoo)
    add_animated_webps(zoo)
    add_broken_webps(zoo)
    add_pngs(zoo)
    add_broken_pngs(zoo)
    add_jpegs(zoo)
    add_broken_jpegs(zoo)
    add_foreign(zoo)
    zoo.write()
    write_seeds()


if __name__ == "__main__":
    main()
