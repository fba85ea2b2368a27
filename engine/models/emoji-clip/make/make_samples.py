#!/usr/bin/python3
"""Draw the sample pictures from Twemoji: twelve everyday things, chosen beforehand."""
import argparse
import os
import subprocess
import tempfile

from PIL import Image

WHITE = (255, 255, 255)
# file name -> (Twemoji file, canvas, side of the drawing, background)
SAMPLES = {
    "dog.png": ("1f436", (256, 256), 232, WHITE),
    "cat.jpg": ("1f431", (320, 240), 216, (173, 216, 230)),
    "elephant.png": ("1f418", (256, 256), 240, WHITE),
    "pizza.png": ("1f355", (300, 300), 270, WHITE),
    "banana.jpg": ("1f34c", (240, 320), 220, WHITE),
    "apple.png": ("1f34e", (256, 256), 220, (250, 240, 205)),
    "car.png": ("1f697", (256, 256), 240, WHITE),
    "bicycle.jpg": ("1f6b2", (320, 256), 230, (225, 225, 225)),
    "airplane.png": ("2708", (256, 256), 230, (255, 225, 170)),
    "guitar.png": ("1f3b8", (256, 256), 240, WHITE),
    "umbrella.jpg": ("2614", (256, 256), 220, (200, 230, 200)),
    "sunflower.png": ("1f33b", (300, 300), 260, WHITE),
}


def draw(svg, canvas, side, ground):
    """One SVG centred on a plain canvas."""
    with tempfile.NamedTemporaryFile(suffix=".png") as out:
        subprocess.run(["rsvg-convert", "-a", "-w", str(side), "-h", str(side), "-o", out.name,
                        svg], check=True)
        icon = Image.open(out.name).convert("RGBA")
    picture = Image.new("RGBA", canvas, ground + (255,))
    picture.alpha_composite(icon, ((canvas[0] - icon.width) // 2, (canvas[1] - icon.height) // 2))
    return picture.convert("RGB")


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder that fetch.sh filled")
    parser.add_argument("--out", required=True, help="folder for the pictures")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    folder = os.path.join(args.data, "node_modules/@twemoji/svg")
    for name, (code, canvas, side, ground) in SAMPLES.items():
        picture = draw(os.path.join(folder, code + ".svg"), canvas, side, ground)
        picture.save(os.path.join(args.out, name), quality=88, optimize=True)


if __name__ == "__main__":
    main()
