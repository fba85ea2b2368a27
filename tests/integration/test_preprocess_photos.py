"""Photographs decoded, resized and cropped: every byte equal to Pillow's.

The photographs are not part of this repository: ATTRIPROMPT_PHOTOS names a folder with some.
"""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / os.environ.get("ATTRIPROMPT_BINARY", "build/release/attriprompt")
PROGRAM = BINARY.parent / "golden/dump_picture"
PHOTOS = os.environ.get("ATTRIPROMPT_PHOTOS")


def find_photos():
    found = Path(PHOTOS).rglob("*") if PHOTOS else []
    return sorted(path for path in found if path.suffix.lower() in (".jpg", ".jpeg"))


def pillow_crop(image, edge, crop):
    """torchvision's Resize(edge, BICUBIC) and CenterCrop(crop)."""
    image_module = pytest.importorskip("PIL.Image")
    width, height = image.size
    other = int(edge * max(width, height) / min(width, height))
    width, height = (edge, other) if width <= height else (other, edge)
    left = int(round((width - crop) / 2.0))
    top = int(round((height - crop) / 2.0))
    resized = image.resize((width, height), image_module.BICUBIC)
    return resized.crop((left, top, left + crop, top + crop))


def count_different(ours, theirs):
    if ours == theirs:
        return 0
    return abs(len(ours) - len(theirs)) + sum(a != b for a, b in zip(ours, theirs))


@pytest.mark.skipif(not PHOTOS, reason="ATTRIPROMPT_PHOTOS names no folder")
@pytest.mark.parametrize("edge, crop", [(224, 224), (256, 224), (64, 64), (337, 336)])
def test_photos_equal_pillow(edge, crop):
    image_module = pytest.importorskip("PIL.Image")
    photos = find_photos()
    assert photos, f"{PHOTOS} holds no .jpg"
    for photo in photos:
        command = [PROGRAM, str(edge), str(crop), photo]
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        head, _, pixels = output.partition(b"\n")
        with image_module.open(photo) as opened:
            image = opened.convert("RGB")
        assert head.split() == [str(side).encode() for side in image.size], photo
        theirs = image.tobytes() + pillow_crop(image, edge, crop).tobytes()
        assert count_different(pixels, theirs) == 0, photo
