import math

import pytest

from command_line import SAMPLES, assert_failure, assert_usage, run, run_json

CAT = SAMPLES / "cat.jpg"
DOG = SAMPLES / "dog.png"


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def test_document():
    words = ("--text", "a photo of a cat.", "--image", CAT, "--text", "a dog", "--image", DOG)
    document = run_json("embed", *words)
    assert set(document) == {"text", "image"}
    assert len(document["text"]) == len(document["image"]) == 2
    vectors = document["text"] + document["image"]
    assert len({len(vector) for vector in vectors}) == 1
    for vector in vectors:
        assert math.isclose(dot(vector, vector), 1, abs_tol=1e-5)


def test_order_and_kinds():
    texts = run_json("embed", "--text", "cat", "--text", "dog")
    assert texts["image"] == []
    alone = run_json("embed", "--text", "dog")["text"]
    assert alone[0] == pytest.approx(texts["text"][1], abs=1e-5)
    images = run_json("embed", "--image", CAT, "--image", DOG)
    assert images["text"] == []
    alone = run_json("embed", "--image", "-", stdin=DOG.read_bytes())
    assert alone["image"][0] == pytest.approx(images["image"][1], abs=1e-5)


def test_cosines_are_those_of_classify():
    document = run_json("embed", "--text", "a photo of a cat.", "--image", CAT)
    result = run_json("classify", "--labels", "cat", CAT)["results"][0]
    cosine = dot(document["text"][0], document["image"][0])
    assert math.isclose(cosine, result["predictions"][0]["cosine"], abs_tol=1e-5)


def test_many_pictures():
    vectors = run_json("embed", *["--image", CAT] * 20, *["--image", DOG] * 20)["image"]
    assert len(vectors) == 40
    for vector in vectors[:20]:
        assert vector == pytest.approx(vectors[0], abs=1e-5)
    for vector in vectors[20:]:
        assert vector == pytest.approx(vectors[-1], abs=1e-5)


def test_a_bad_picture_fails_alone(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(DOG.read_bytes()[:100])
    document = run_json("embed", "--image", CAT, "--image", bad, "--image", DOG, code=1)
    assert [vector is None for vector in document["image"]] == [False, True, False]
    good = run_json("embed", "--image", CAT, "--image", DOG)["image"]
    assert document["image"][2] == pytest.approx(good[1], abs=1e-5)
    assert_failure(run("embed", "--image", bad), "embed", "bad.png")


def test_a_long_text_is_refused():
    done = run("embed", "--text", "many words " * 100, "--json")
    assert_failure(done, "embed", "77")
    assert done.stdout == b""


def test_table():
    done = run("embed", "--text", "a \033 cat", "--image", CAT)
    assert done.returncode == 0
    text, image = done.stdout.decode().splitlines()
    assert text.startswith("text   norm 1.0000") and text.endswith("a \\x1b cat")
    assert image.startswith("image  norm 1.0000") and image.endswith("cat.jpg")


def test_help():
    done = run("embed", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"Usage: attriprompt embed ")
    assert b"Examples:" in done.stdout


@pytest.mark.parametrize(
    "words, part",
    [
        ([], "--text"),
        (["cat.jpg"], "cat.jpg"),
        (["--text"], "--text"),
        (["--wrong"], "--wrong"),
        (["--image", "-", "--image", "-"], "standard input"),
    ],
)
def test_usage(words, part):
    assert_usage(run("embed", *words), "embed", part)
