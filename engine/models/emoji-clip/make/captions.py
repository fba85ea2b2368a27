"""Captions of the emojis: templates, and which classes a caption is true for."""
import json
import os

import numpy as np
import torch

DEFAULT = "a photo of a {}."
# template -> weight in training
TEMPLATES = {
    DEFAULT: 36, "{}": 12, "a picture of a {}.": 6, "an emoji of a {}.": 6, "a drawing of a {}.": 6,
    "a photo of the {}.": 6, "an icon of a {}": 5, "a {}": 5, "{} emoji": 4, "the {}": 3,
    "a photo of an {}.": 4, "a cartoon of a {}": 3, "this is a {}.": 3, "a close-up of a {}.": 3,
    "a small picture of the {}.": 2, "a colourful drawing of the {}": 2,
}
EXTRA_TEXT = ["photo", "photos of many", "good bad big small large old new red green blue yellow "
              "black white orange purple brown pink grey", "one two three four five", "image",
              "itap",
              "a man a woman a person a child people animal food fruit vehicle tool sport face"]
WIDEST_KEYWORD = 3


class Captions:
    """Draws captions; `true_for` says for which classes each drawn caption holds."""

    def __init__(self, folder, tokenizer):
        with open(os.path.join(folder, "classes.json"), encoding="utf-8") as handle:
            self.classes = json.load(handle)
        self.tokenizer = tokenizer
        self.templates = list(TEMPLATES)
        weight = np.array([TEMPLATES[t] for t in self.templates], float)
        self.weight = weight / weight.sum()
        self.owners = self.collect()
        self.words = sorted(self.owners)
        self.number = {w: i for i, w in enumerate(self.words)}
        self.true_for = torch.zeros(len(self.words), len(self.classes), dtype=torch.bool)
        for word, owners in self.owners.items():
            self.true_for[self.number[word], sorted(owners)] = True
        self.choices = [self.usable(c) for c in self.classes]

    def collect(self):
        """word -> set of classes it names."""
        owners = {}
        for i, entry in enumerate(self.classes):
            for word in [entry["name"]] + entry["aliases"] + entry["keywords"]:
                owners.setdefault(word, set()).add(i)
        return owners

    def usable(self, entry):
        """(aliases, keywords) of one emoji that say enough to be a caption of their own."""
        few = [w for w in entry["keywords"] if len(self.owners[w]) <= WIDEST_KEYWORD]
        return entry["aliases"], few

    def subject(self, number, rng):
        """(text, word number): what fills the template, and the word it stands for."""
        entry, (aliases, few) = self.classes[number], self.choices[number]
        dice, word = rng.random(), entry["name"]
        if dice < 0.22 and aliases:
            word = aliases[min(int(rng.exponential(1.2)), len(aliases) - 1)]
        elif dice < 0.30 and few:
            word = few[rng.integers(len(few))]
        elif dice < 0.42 and entry["keywords"]:
            extra = rng.permutation(entry["keywords"])[:rng.integers(1, 4)]
            return ", ".join([word] + list(extra)), self.number[word]
        return word, self.number[word]

    def draw(self, numbers, rng):
        """Token tensor [n, longest] and word numbers for a list of classes."""
        picks = rng.choice(len(self.templates), len(numbers), p=self.weight)
        subjects = [self.subject(n, rng) for n in numbers]
        texts = [self.templates[t].replace("{}", s) for t, (s, _) in zip(picks, subjects)]
        return self.tokens(texts), torch.tensor([w for _, w in subjects])

    def tokens(self, texts):
        """Token tensor, padded with the end token to the longest text."""
        rows = [self.tokenizer.encode(t) for t in texts]
        out = torch.full((len(rows), max(map(len, rows))), self.tokenizer.end)
        for i, row in enumerate(rows):
            out[i, :len(row)] = torch.tensor(row)
        return out

    def names(self, template=DEFAULT):
        """Tokens of every emoji's name in one template."""
        return self.tokens([template.replace("{}", c["name"]) for c in self.classes])
