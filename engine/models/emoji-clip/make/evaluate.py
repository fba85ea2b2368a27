#!/usr/bin/python3
"""Measure an exported model folder: Twemoji (never trained on), the validation style, samples.

Pictures go through PIL exactly as in use: over a plain background, RGB, shorter edge to 64 with
bicubic filtering, centre crop, CLIP's mean and deviation.  Weights are the half-precision ones.
"""
import argparse
import json
import os

import numpy as np
import torch
from PIL import Image

from bpe import Tokenizer
from build_data import TEST, VALIDATION
from captions import DEFAULT
from clip import IMAGE, Clip
from export import read_safetensors

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def preprocess(picture):
    """PIL picture -> [3,64,64], as CLIPImageProcessor does it."""
    picture = picture.convert("RGB")
    short = min(picture.size)
    size = [IMAGE * side // short for side in picture.size]
    picture = picture.resize(size, Image.BICUBIC)
    left, top = (size[0] - IMAGE) // 2, (size[1] - IMAGE) // 2
    picture = picture.crop((left, top, left + IMAGE, top + IMAGE))
    array = (np.asarray(picture, np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


def over(picture, colour=(255, 255, 255)):
    """An RGBA picture on a plain background."""
    picture = picture.convert("RGBA")
    ground = Image.new("RGBA", picture.size, colour + (255,))
    return Image.alpha_composite(ground, picture).convert("RGB")


class Model:
    """The exported folder: features of pictures and of labels in a template."""

    def __init__(self, folder):
        self.tokenizer = Tokenizer(folder)
        self.clip = Clip(len(self.tokenizer.vocab)).eval()
        self.clip.load_state_dict(read_safetensors(os.path.join(folder, "model.safetensors")))

    def images(self, pictures):
        """Unit features of PIL pictures."""
        with torch.no_grad():
            parts = torch.stack([preprocess(p) for p in pictures]).split(128)
            return torch.cat([self.clip.image(p) for p in parts])

    def texts(self, labels, template=DEFAULT):
        """Unit features of labels."""
        rows = [self.tokenizer.encode(template.replace("{}", label)) for label in labels]
        out = torch.full((len(rows), max(map(len, rows))), self.tokenizer.end)
        for i, row in enumerate(rows):
            out[i, :len(row)] = torch.tensor(row)
        with torch.no_grad():
            return torch.cat([self.clip.text(p) for p in out.split(256)])


def twemoji(root, classes):
    """(pictures, classes) of emoji-datasource-twitter's 64-pixel PNGs over white."""
    folder = os.path.join(root, "node_modules/emoji-datasource-twitter/img/twitter/64")
    files = {os.path.splitext(f)[0].upper().replace("-FE0F", ""): f for f in os.listdir(folder)}
    found = [(over(Image.open(os.path.join(folder, files[c["code"]]))), i)
             for i, c in enumerate(classes) if c["code"] in files]
    return [p for p, _ in found], np.array([i for _, i in found])


def stored(root, style):
    """(pictures, classes) of one style of pictures.npz over white."""
    data = np.load(os.path.join(root, "pictures.npz"))
    chosen = data["styles"] == [str(s) for s in data["names"]].index(style)
    pictures = []
    for raw in data["pictures"][chosen]:
        rgb = raw[:3].astype(int) + 255 - raw[3:]
        pictures.append(Image.fromarray(rgb.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)))
    return pictures, data["classes"][chosen]


def figures(scores, target, seed=0):
    """Top-1 and top-5 among all names; top-1 among ten random names (mean of 20 draws)."""
    order = scores.argsort(1)[:, ::-1][:, :5]
    hit = order == target[:, None]
    rng, tens = np.random.default_rng(seed), []
    for _ in range(20):
        others = (target[:, None] + 1 + np.array(
            [rng.choice(scores.shape[1] - 1, 9, replace=False) for _ in target]))
        rivals = np.take_along_axis(scores, others % scores.shape[1], 1).max(1)
        tens.append((scores[np.arange(len(target)), target] > rivals).mean())
    return hit[:, 0].mean(), hit.any(1).mean(), np.mean(tens)


def style_report(model, classes, label, pictures, target):
    """Print the three figures of one style; returns the scores."""
    names = [c["name"] for c in classes]
    scores = (model.images(pictures) @ model.texts(names).t()).numpy()
    first, five, ten = figures(scores, target)
    print("%-22s %5d pictures, %d names: top-1 %.1f %%, top-5 %.1f %%, of ten %.1f %%" % (
        label, len(pictures), len(names), 100 * first, 100 * five, 100 * ten))
    return scores


def by_category(classes, scores, target):
    """Top-1 of each emoji category."""
    right = scores.argmax(1) == target
    for group in sorted({c["category"] for c in classes}):
        part = np.array([classes[t]["category"] == group for t in target])
        print("    %-18s %5d pictures: top-1 %.1f %%" % (group, part.sum(),
                                                        100 * right[part].mean()))


def samples(model, folder):
    """Top-1 of the sample pictures among labels-30.txt."""
    with open(os.path.join(folder, "labels-30.txt"), encoding="utf-8") as handle:
        labels = handle.read().split("\n")
    labels = [label for label in labels if label]
    text, right, files = model.texts(labels), 0, []
    files = sorted(f for f in os.listdir(folder) if f.endswith((".png", ".jpg")))
    for name in files:
        image = model.images([Image.open(os.path.join(folder, name))])
        share = (model.clip.logit_scale.exp() * image @ text.t()).softmax(1)[0]
        best = int(share.argmax())
        wanted = os.path.splitext(name)[0].replace("-", " ")
        right += labels[best] == wanted
        print("    %-16s %-14s %.3f%s" % (name, labels[best], float(share[best]),
                                         "" if labels[best] == wanted else "   WRONG"))
    print("samples: %d of %d right among %d labels" % (right, len(files), len(labels)))


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--model", default=here, help="exported folder")
    parser.add_argument("--data", help="fetch.sh's folder; without: samples only")
    parser.add_argument("--samples", default=os.path.join(here, "samples"))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = Model(args.model)
    if args.data:
        with open(os.path.join(args.data, "classes.json"), encoding="utf-8") as handle:
            classes = json.load(handle)
        style_report(model, classes, "validation (%s)" % VALIDATION,
                     *stored(args.data, VALIDATION))
        pictures, target = twemoji(args.data, classes)
        scores = style_report(model, classes, "test (%s)" % TEST, pictures, target)
        by_category(classes, scores, target)
    if os.path.isdir(args.samples):
        samples(model, args.samples)


if __name__ == "__main__":
    main()
