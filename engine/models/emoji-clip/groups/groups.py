"""Which emoji make a class, what the class is called, and which split an emoji is in.

A class is a Unicode subgroup. Of emoji that differ only by gender, skin tone, direction, colour or
hour, the first that Twemoji draws stands for all: a base. Flags and components are left out.
"""
import hashlib

from build_data import bare

SEED = 1
FEWEST = 8  # bases of a class; with fewer a split would be empty or a single emoji
SHARES = {"train": 0.50, "val": 0.15, "test": 0.35}
GROUPS_LEFT_OUT = ("component", "flags")

# Unicode subgroup -> what one member is called. The plain word for all of them where there is one,
# in the singular ("insect" for Unicode's "bug", a word that it gives to most of them); where the
# subgroup is a heading over unlike things, two typical ones ("sun or cloud" for "sky-weather").
# Subgroups of what is left over (place-other, other-object, other-symbol) have no name.
NAMES = {
    "face-smiling": "smiling face",
    "face-affection": "loving face",
    "face-tongue": "face with tongue",
    "face-hand": "face with hand",
    "face-neutral-skeptical": "neutral face",
    "face-sleepy": "sleepy face",
    "face-unwell": "sick face",
    "face-hat": "face with hat",
    "face-glasses": "face with glasses",
    "face-concerned": "worried face",
    "face-negative": "angry face",
    "face-costume": "monster",
    "cat-face": "cat face",
    "monkey-face": "monkey face",
    "heart": "heart",
    "emotion": "comic symbol",
    "hand-fingers-open": "open hand",
    "hand-fingers-partial": "hand gesture",
    "hand-single-finger": "pointing finger",
    "hand-fingers-closed": "fist",
    "hands": "pair of hands",
    "hand-prop": "hand with an object",
    "body-parts": "body part",
    "person": "person",
    "person-gesture": "person gesturing",
    "person-role": "worker",
    "person-fantasy": "fairy tale person",
    "person-activity": "person walking or dancing",
    "person-sport": "person doing sport",
    "person-resting": "resting person",
    "family": "family",
    "person-symbol": "symbol of a person",
    "animal-mammal": "mammal",
    "animal-bird": "bird",
    "animal-amphibian": "amphibian",
    "animal-reptile": "reptile",
    "animal-marine": "sea animal",
    "animal-bug": "insect",
    "plant-flower": "flower",
    "plant-other": "tree or leaf",
    "food-fruit": "fruit",
    "food-vegetable": "vegetable",
    "food-prepared": "bread or meat",
    "food-asian": "asian food",
    "food-sweet": "dessert",
    "drink": "drink",
    "dishware": "knife or spoon",
    "place-map": "globe or map",
    "place-geographic": "mountain or beach",
    "place-building": "building",
    "place-religious": "religious building",
    "transport-ground": "car or train",
    "transport-water": "boat",
    "transport-air": "airplane or helicopter",
    "hotel": "bell or luggage",
    "time": "clock",
    "sky-weather": "sun or cloud",
    "event": "celebration or festival",
    "award-medal": "medal",
    "sport": "ball or sports equipment",
    "game": "game",
    "arts-crafts": "picture or thread",
    "clothing": "piece of clothing",
    "sound": "loudspeaker or bell",
    "music": "musical note or microphone",
    "musical-instrument": "musical instrument",
    "phone": "telephone",
    "computer": "computer or disk",
    "light-video": "lamp or camera",
    "book-paper": "book or newspaper",
    "money": "money",
    "mail": "mail",
    "writing": "pen or brush",
    "office": "file or calendar",
    "lock": "lock or key",
    "tool": "tool or weapon",
    "science": "scientific instrument",
    "medical": "medical item",
    "household": "household item",
    "transport-sign": "toilet or luggage sign",
    "warning": "warning sign",
    "arrow": "arrow",
    "religion": "religious symbol",
    "zodiac": "zodiac sign",
    "av-symbol": "playback button",
    "gender": "gender symbol",
    "math": "mathematical symbol",
    "punctuation": "punctuation mark",
    "currency": "currency symbol",
    "keycap": "keycap",
    "alphanum": "button with letters",
    "geometric": "geometric shape",
}

DROPPED_MARKS = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}  # skin tones
DROPPED_TAILS = {"2640", "2642", "27A1"}  # after a joiner: female, male, facing right
# One code point for several, wherever it stands in a sequence.
SAME_PERSON = {
    "1F9D1": ["1F468", "1F469"],  # person, man, woman
    "1F9D2": ["1F466", "1F467"],  # child, boy, girl
    "1F9D3": ["1F474", "1F475"],  # older person
}
# Whole emoji that differ by gender, colour, size or hour only.
SAME_EMOJI = [
    ["1F9D1-200D-1F91D-200D-1F9D1", "1F46B", "1F46C", "1F46D"],  # people holding hands
    ["1F48F", "1F9D1-200D-2764-200D-1F48B-200D-1F9D1"],  # kiss
    ["1F491", "1F9D1-200D-2764-200D-1F9D1"],  # couple with heart
    ["1F385", "1F936", "1F9D1-200D-1F384"],  # Santa Claus
    ["1F934", "1F478", "1FAC5"],  # prince
    ["1F930", "1FAC3", "1FAC4"],  # pregnant
    ["1F483", "1F57A"],  # dancing
    ["2764", "1FA77", "1F9E1", "1F49B", "1F49A", "1F499", "1FA75", "1F49C", "1F90E", "1F5A4",
     "1FA76", "1F90D"],  # hearts
    ["1F534", "1F7E0", "1F7E1", "1F7E2", "1F535", "1F7E3", "1F7E4", "26AB", "26AA"],  # circles
    ["1F7E5", "1F7E7", "1F7E8", "1F7E9", "1F7E6", "1F7EA", "1F7EB", "2B1B", "2B1C", "25FC",
     "25FB", "25FE", "25FD", "25AA", "25AB"],  # squares
    ["1F536", "1F537", "1F538", "1F539"],  # diamonds
    ["1F4D5", "1F4D7", "1F4D8", "1F4D9"],  # closed books
    ["%X" % code for code in range(0x1F550, 0x1F568)],  # clock faces
]
PERSON_OF = {code: base for base, codes in SAME_PERSON.items() for code in codes}
EMOJI_OF = {code: codes[0] for codes in SAME_EMOJI for code in codes}


def base_of(hexcode):
    """The key that an emoji shares with its variants."""
    parts = [PERSON_OF.get(p, p) for p in bare(hexcode).split("-") if p not in DROPPED_MARKS]
    while len(parts) > 2 and parts[-2] == "200D" and parts[-1] in DROPPED_TAILS:
        parts = parts[:-2]
    code = "-".join(parts)
    return EMOJI_OF.get(code, code)


def bases_of(entries, names, drawn):
    """subgroup -> [entry] in Unicode's order, one a base: entries and names as emojibase-data has
    them (data.json, meta/groups.json), of emoji whose bare code is in drawn."""
    left_out = {n for n, group in names["groups"].items() if group in GROUPS_LEFT_OUT}
    found, taken = {}, set()
    for entry in sorted(entries, key=lambda e: e.get("order", 0)):
        if "subgroup" not in entry or str(entry["group"]) in left_out:
            continue
        base = base_of(entry["hexcode"])
        if bare(entry["hexcode"]) in drawn and base not in taken:
            taken.add(base)
            subgroup = names["subgroups"][str(entry["subgroup"])]
            found.setdefault(subgroup, []).append(dict(entry, base=base))
    return found


def split(entries, seed=SEED):
    """split name -> entries of one class, in an order that only seed and the bases decide."""
    def place(entry):
        return hashlib.sha256(("%d %s" % (seed, entry["base"])).encode()).digest()

    order = sorted(entries, key=place)
    val = max(1, round(SHARES["val"] * len(order)))
    test = max(1, round(SHARES["test"] * len(order)))
    return {"train": order[val + test:], "val": order[:val], "test": order[val:val + test]}


def classes(found):
    """([(name, subgroup, splits)] sorted by name, [(subgroup, count)] of those left out)."""
    kept, left_out = [], []
    for subgroup, entries in found.items():
        if subgroup in NAMES and len(entries) >= FEWEST:
            kept.append((NAMES[subgroup], subgroup, split(entries)))
        else:
            left_out.append((subgroup, len(entries)))
    return sorted(kept, key=lambda row: row[0]), left_out
