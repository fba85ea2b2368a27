"""engine/models/emoji-clip/groups: which emoji are in which class and split, and the pictures; on a
few made-up drawings, without npm packages and librsvg."""

import json
import subprocess
import sys

import numpy
import pytest
from PIL import Image

from command_line import BINARY, MODEL, SAMPLES

for folder in ("make", "groups"):
    sys.path.append(str(MODEL / folder))

import distort  # noqa: E402
import groups  # noqa: E402
import make_groups  # noqa: E402

SUBGROUPS = {"1": "heart", "2": "other-object", "3": "animal-bird", "4": "flag", "5": "drink"}
NAMES = {"groups": {"0": "animals-nature", "1": "flags"}, "subgroups": SUBGROUPS}


def entry(number, subgroup, group=0):
    return {
        "hexcode": f"{0x20000 + number:X}",
        "label": f"thing {number}",
        "order": number,
        "subgroup": subgroup,
        "group": group,
    }


def entries():
    """9 hearts, 9 left-over objects, 12 birds, 9 flags, 7 drinks; a letter of no subgroup."""
    counts = [(1, 9, 0), (2, 9, 0), (3, 12, 0), (4, 9, 1), (5, 7, 0)]
    found = [entry(100 * s + n, s, group) for s, count, group in counts for n in range(count)]
    return found + [{"hexcode": "1F1E6", "label": "letter"}]


def drawn(some):
    return {e["hexcode"] for e in some}


def class_of(count):
    return [dict(entry(n, 1), base=f"{n:X}") for n in range(count)]


@pytest.mark.parametrize(
    "one, other",
    [
        ("1F469-1F3FD-200D-2695-FE0F", "1F9D1-200D-2695-FE0F"),  # woman, tone; health worker
        ("1F3C3-200D-2642-FE0F-200D-27A1-FE0F", "1F3C3"),  # man running to the right
        ("1F468-200D-2764-FE0F-200D-1F48B-200D-1F469", "1F48F"),  # kiss: man, woman
        ("1F467", "1F9D2"),  # girl, child
        ("1F49A", "2764-FE0F"),  # green heart, red heart
        ("1F567", "1F550"),  # two clock faces
    ],
)
def test_variants_share_a_base(one, other):
    assert groups.base_of(one) == groups.base_of(other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("1F9D1-200D-2695-FE0F", "1F9D1-200D-1F33E"),  # health worker, farmer
        ("1F408", "1F408-200D-2B1B"),  # cat, black cat
        ("2642-FE0F", "2640-FE0F"),  # the signs themselves
        ("1F49D", "2764-FE0F"),  # heart with ribbon, red heart
    ],
)
def test_others_do_not(one, other):
    assert groups.base_of(one) != groups.base_of(other)


def test_no_emoji_is_in_two_lists_of_variants():
    codes = [code for codes in groups.SAME_EMOJI for code in codes]
    assert len(codes) == len(set(codes))


def test_the_first_drawn_variant_stands_for_its_base():
    variants = [
        {"hexcode": code, "label": code, "order": n, "subgroup": 3, "group": 0}
        for n, code in enumerate(["1F9D1-200D-2695-FE0F", "1F468-200D-2695-FE0F", "1F414"])
    ]
    all_drawn = groups.bases_of(variants, NAMES, {"1F9D1-200D-2695", "1F468-200D-2695", "1F414"})
    assert [e["label"] for e in all_drawn["animal-bird"]] == ["1F9D1-200D-2695-FE0F", "1F414"]
    some_drawn = groups.bases_of(variants, NAMES, {"1F468-200D-2695", "1F414"})
    assert [e["label"] for e in some_drawn["animal-bird"]] == ["1F468-200D-2695-FE0F", "1F414"]


@pytest.mark.parametrize("count", [8, 9, 13, 66])
def test_no_emoji_is_in_two_splits(count):
    some = class_of(count)
    splits = groups.split(some)
    placed = [e["base"] for part in splits.values() for e in part]
    assert sorted(placed) == sorted(e["base"] for e in some)
    assert all(splits.values())
    assert abs(len(splits["test"]) - 0.35 * count) <= 0.5
    assert len(splits["train"]) > len(splits["test"])


def test_the_split_follows_from_seed_and_bases_only():
    some = class_of(20)
    assert groups.split(some) == groups.split(some[::-1])
    assert groups.split(some) != groups.split(some, seed=groups.SEED + 1)


def test_small_and_nameless_subgroups_and_flags_are_left_out():
    found = groups.bases_of(entries(), NAMES, drawn(entries()))
    assert "flag" not in found
    kept, left_out = groups.classes(found)
    assert [(name, subgroup) for name, subgroup, _ in kept] == [
        ("bird", "animal-bird"),
        ("heart", "heart"),
    ]
    assert left_out == [("other-object", 9), ("drink", 7)]
    assert groups.FEWEST == 8


def test_names_are_unique_folders_and_labels():
    names = list(groups.NAMES.values())
    assert len(set(names)) == len(names)
    for name in names:
        assert name and name == name.strip().lower()
        assert all(letter.isalpha() or letter == " " for letter in name)


def icon():
    """A square RGBA drawing: a red disc."""
    y, x = numpy.mgrid[:160, :160] - 80
    inside = (x * x + y * y < 70 * 70)[:, :, None]
    return Image.fromarray((inside * [220, 20, 30, 255]).astype(numpy.uint8))


def test_a_picture_follows_from_its_seed():
    one, again, other = (distort.distort(icon(), 1, n, 0x1F600) for n in (0, 0, 1))
    assert one.mode == "RGB" and one.size == (distort.SIDE, distort.SIDE)
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()


def test_the_drawing_stands_out_from_every_background():
    for n in range(40):
        picture = numpy.asarray(distort.distort(icon(), 1, n), float)
        middle, edge = picture[38:58, 38:58].mean((0, 1)), picture[:4].mean((0, 1))
        assert numpy.linalg.norm(middle - edge) > 100


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function that runs the program on the entries above; returns its folder."""
    package = tmp_path / "node_modules/emojibase-data"
    drawings = tmp_path / "node_modules/@twemoji/svg"
    for folder in (package / "en", package / "meta", drawings):
        folder.mkdir(parents=True)
    (package / "en/data.json").write_text(json.dumps(entries()))
    (package / "meta/groups.json").write_text(json.dumps(NAMES))
    for code in drawn(entries()):
        (drawings / f"{code.lower()}.svg").touch()
    monkeypatch.setattr(make_groups, "render_svg", lambda path: icon())

    def run(name):
        out = tmp_path / name
        arguments = ["make_groups.py", "--data", str(tmp_path), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", arguments)
        make_groups.main()
        return out

    return run


def test_the_folders_are_what_classes_json_says_and_the_same_each_time(make):
    out = make("one")
    document = json.loads((out / "classes.json").read_text())
    assert [row["name"] for row in document["classes"]] == ["bird", "heart"]
    for row in document["classes"]:
        for split, count in row["pictures"].items():
            names = [path.name for path in (out / split / row["name"]).iterdir()]
            assert len(names) == count
            assert len({name.split("-")[0] for name in names}) == row["emoji"][split]
    first = make_groups.digest(out)
    assert make_groups.digest(make("two")) == first
    (out / "train/bird/left-over.png").touch()
    assert make_groups.digest(make("one")) == first  # a set made before is replaced
    assert not out.with_name("one.new").exists()


def test_a_folder_of_something_else_is_left_alone(make, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("text")
    with pytest.raises(SystemExit):
        make("mine")
    assert "mine is there and is no such set" in capsys.readouterr().err
    assert (tmp_path / "mine/thesis.txt").read_text() == "text"


def test_zero_shot_measures_all_base_and_new(tmp_path):
    names = ["airplane", "apple", "dog", "elephant", "pizza"]
    for name in names:
        folder = tmp_path / "test" / name
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes((SAMPLES / f"{name}.png").read_bytes())
    wrong = tmp_path / "test/apple/2.png"
    wrong.write_bytes((SAMPLES / "dog.png").read_bytes())
    document = {"classes": [{"name": name} for name in names]}
    (tmp_path / "classes.json").write_text(json.dumps(document))
    command = [sys.executable, "-B", MODEL / "groups/zero_shot.py", tmp_path, "--program", BINARY]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [
        "all   5 classes,    6 pictures: top-1 83.3 %, mean of classes 90.0 %, chance 20.0 %",
        "base  3 classes,    4 pictures: top-1 75.0 %, mean of classes 83.3 %, chance 33.3 %",
        "new   2 classes,    2 pictures: top-1 100.0 %, mean of classes 100.0 %, chance 50.0 %",
    ]
