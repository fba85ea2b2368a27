"""Texts that are hard for a tokenizer: a fixed list, and a seeded stream of random ones."""

import random
import unicodedata

HARD = [
    "",
    " ",
    "a photo of a cat.",
    "A PHOTO of a Dog",
    "it's don't we're I've I'm they'll she'd 'tis ''s !'s 'S 'LL o'clock rock'n'roll 'r 'v 'l",
    "it\u2019s \u2018quoted\u2019 \u02bcokina",
    "3 cats, 12 dogs, 1234567890, x2, 4x4, 1.5e-3, ½ Ⅷ ③ \u0663 \u096b \uff17 〇",
    "<|startoftext|>a<|endoftext|>",
    "<|ENDOFTEXT|>  <|endoftext|><|endoftext|>",
    "\t tabs\tand\nnew\r\nlines \x0b\x0c ",
    "\x1c\x1d\x1e\x1f are not white space, nor \u200b\u180e\u2060\ufeff\u200c\u200d",
    "a\x85b\xa0c\u1680d\u2000e\u2001f\u2009g\u200ah\u2028i\u2029j\u202fk\u205fl\u3000m",
    "nul \x00 bell \x07 delete \x7f c1 \x80\x9f soft\xadhyphen",
    "\u0130stanbul \u0130\u0130 I\u0307 \u0131 I\u0323\u0307 ISPARTA",
    "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03a3 \u03a3\u0391\u03a3. \u03c3\u03c2",
    "Stra\u00dfe STRASSE \u1e9e \ufb03 \ufb01ne",
    "Ǆ\u01c5ǆ Ǉ\u01c8ǉ Ǌ\u01cbǌ Ǳ\u01f2ǳ \u1f88\u1f98\u1fbc",
    "\u212a \u212b \u2126 \u1e9b\u0323 \u0344 \u0340\u0341 \u0374 \u037e \u0387 \u1fef",
    "e\u0301 \u00e9 a\u0327\u0301 a\u0301\u0327 \u0061\u0315\u0300\u05ae\u0300\u0062",
    "q\u0307\u0323 q\u0323\u0307 \u1e0d\u0307 d\u0307\u0323 \u0915\u093c \u0958 \u09c7\u09be",
    "\ud55c\uae00 \u1112\u1161\u11ab\u1100\u1173\u11af \u1100\u1161\u11a7 \uac00\u11a8",
    "日本語\u3067す。 中文，测试 か\u3099 \uf900 \U0002f800",
    "\u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u0422\u0415\u041a\u0421\u0422 \u0401\u0301",
    "\u0639\u0631\u0628\u064a\u0651\u064e \u05e9\u05c1\u05dc\u05d5\u05b9\u05dd ภาษาไทย",
    "ह\u093fन\u094dद\u0940 தம\u0bbfழ\u0bcd မ\u103cန\u103aမ\u102c",
    "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 👍🏽 1\ufe0f\u20e3 🇩🇪",
    "𐐀𐐨 \U0001e900\U0001e922 𖹀 Ꭰꭰ ႠᲐ Ⓐⓐ Ⅰ",
    "\U0001d15e \U0001d1bb \U0002f800 𝐀\U0001d7ce \U000e0041 \U0010fffd \ue000 \ufffe\uffff",
    "� ¡¿«»€£¥ …\u2014\u2013 ~`!@#$%^&*()_+-={}[]|\\:;\"<>,.?/",
    "snake_case camelCase kebab-case path/to/file.txt user@example.com #tag $5.00 100%",
    "a" * 400,
    "abcdefghij" * 60,
    "\u00e9" * 200,
    "!" * 300 + "?!" * 100,
    "x\u0301" + "\u0316\u0301" * 60,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "word " * 120,
]

WORDS = (
    "a an the of photo picture drawing small large red blue green cat dog bird car house street "
    "forest satellite origami close-up pixelated Boeing 737-800 Ferrari F430 Spider Coupe 2012 "
    "flower food aircraft texture person doing sketch rendition sculpture tattoo embroidered "
    "it's don't they're we've I'm she'll he'd children's photographs unbelievably"
).split()

SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = "\x00\x01\x1b\x1c\x1f\x7f\x80\x9f\xad\u180e\u200b\u200c\u200d\u200e\u2060\u2066"
INVISIBLE += "\ufe0f\ufeff"
SPECIALS = ["<|startoftext|>", "<|endoftext|>", "</w>", "<|", "|>"]
EDGE = "\u0130\u0131\u03a3\u03c3\u03c2\u00df\u1e9e\u01c4\u01c5\u01f2\u1f88\u212a\u212b\u2126'\u2019"


def assigned():
    """Every code point of this Python's Unicode but surrogates and private use."""
    points = (chr(i) for i in range(0x110000) if not 0xD800 <= i <= 0xDFFF)
    return [c for c in points if unicodedata.category(c) not in ("Cn", "Co")]


class Texts:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.all = assigned()
        self.marks = [c for c in self.all if unicodedata.combining(c)]
        self.composed = [c for c in self.all if unicodedata.normalize("NFD", c) != c]
        self.digits = [c for c in self.all if unicodedata.category(c)[0] == "N"]
        self.blocks = {}
        for c in self.all:
            self.blocks.setdefault(ord(c) >> 7, []).append(c)
        self.block_keys = sorted(self.blocks)
        self.makers = [
            self.english, self.english, self.script, self.script, self.anything, self.decomposed,
            self.mark_runs, self.emoji, self.numbers, self.symbols, self.white, self.long_word,
            self.mixture, self.mixture,
        ]  # fmt: skip

    def some(self, pool, low, high):
        return [self.random.choice(pool) for _ in range(self.random.randint(low, high))]

    def word_case(self, word):
        return self.random.choice([word, word, word.upper(), word.title(), word.swapcase()])

    def english(self):
        words = [self.word_case(w) for w in self.some(WORDS, 1, 14)]
        return " ".join(words) + self.random.choice(["", ".", "!", "'s", " ,"])

    def script(self):
        block = self.blocks[self.random.choice(self.block_keys)]
        return " ".join("".join(self.some(block, 1, 9)) for _ in range(self.random.randint(1, 5)))

    def anything(self):
        return "".join(self.some(self.all, 1, 40))

    def decomposed(self):
        form = self.random.choice(["NFC", "NFD", "NFKC", "NFKD"])
        return unicodedata.normalize(form, "".join(self.some(self.composed, 1, 15)))

    def mark_runs(self):
        bases = self.some(WORDS + self.composed[:200], 1, 3)
        return "".join(base + "".join(self.some(self.marks, 0, 12)) for base in bases)

    def emoji(self):
        pool = [chr(c) for c in range(0x1F300, 0x1F650)] + ["\u200d", "\ufe0f", "\u20e3", "#", " "]
        return "".join(self.some(pool, 1, 15))

    def numbers(self):
        return "".join(self.some(self.digits + list("0123456789.,-+ ") * 30, 1, 25))

    def symbols(self):
        pool = list("'!?\"#$%&()*+,-./:;<=>@[]^_`{|}~stremvld ") + SPECIALS
        return "".join(self.some(pool, 1, 30))

    def white(self):
        pool = list(SPACES) + list(INVISIBLE) + list("aZ9'") + list(EDGE)
        return "".join(self.some(pool, 1, 30))

    def long_word(self):
        pool = self.random.choice([list("etaoinshrdlu"), ["a"], ["!"], list("\u00e9中а"), WORDS])
        return "".join(self.some(pool, 50, 500))[:500]

    def mixture(self):
        makers = [self.english, self.script, self.anything, self.emoji, self.numbers, self.symbols]
        makers += [self.white, self.decomposed, lambda: self.random.choice(EDGE)]
        makers += [lambda: self.random.choice(SPECIALS)]
        joint = self.random.choice(["", " ", "'"])
        count = self.random.randint(2, 6)
        return joint.join(self.random.choice(makers)()[:40] for _ in range(count))

    def __iter__(self):
        while True:
            yield self.random.choice(self.makers)()
