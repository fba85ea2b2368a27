import json
import math
import os
import re
import shutil

import pytest

from command_line import (
    MODEL,
    SAMPLES,
    assert_failure,
    assert_usage,
    environment,
    run,
    run_json,
    run_on_terminal,
    sample_pictures,
)

CAT = SAMPLES / "cat.jpg"
DOG = SAMPLES / "dog.png"
LABELS_30 = SAMPLES / "labels-30.txt"
THREE = "cat,dog,pizza"


def best(result):
    return result["predictions"][0]["label"]


# ---- What it finds ----


def test_samples_are_told_apart_among_30_labels():
    pictures = sample_pictures()
    assert len(pictures) == 12
    document = run_json("classify", "--labels-file", LABELS_30, *pictures)
    assert len(document["labels"]) == 30
    right = [
        picture.stem
        for picture, result in zip(pictures, document["results"])
        if best(result) == picture.stem.replace("-", " ").replace("_", " ")
    ]
    assert len(right) >= 10, right


def test_document():
    document = run_json("classify", "--labels", THREE, "--top-k", "2", DOG, CAT)
    assert set(document) == {"labels", "results"}
    assert document["labels"] == ["cat", "dog", "pizza"]
    assert [result["image"] for result in document["results"]] == [str(DOG), str(CAT)]
    for result in document["results"]:
        assert set(result) == {"image", "logits", "probabilities", "predictions"}
        logits, probabilities = result["logits"], result["probabilities"]
        assert len(logits) == len(probabilities) == 3
        assert math.isclose(sum(probabilities), 1, abs_tol=1e-5)
        weights = [math.exp(logit - max(logits)) for logit in logits]
        for weight, probability in zip(weights, probabilities):
            assert math.isclose(weight / sum(weights), probability, abs_tol=1e-5)

        assert len(result["predictions"]) == 2
        ranks = sorted(range(3), key=lambda label: -probabilities[label])
        for rank, prediction in zip(ranks, result["predictions"]):
            assert set(prediction) == {"label", "score", "logit", "cosine"}
            assert prediction["label"] == document["labels"][rank]
            assert prediction["score"] == probabilities[rank]
            assert prediction["logit"] == logits[rank]
            assert -1 <= prediction["cosine"] <= 1


def test_batches_and_threads_do_not_change_the_result():
    """More pictures than a batch: each as if it had come alone."""
    pictures = (sample_pictures() * 4)[:37]
    together = run_json("classify", "--labels", THREE, "--threads", "3", *pictures)["results"]
    assert [result["image"] for result in together] == [str(picture) for picture in pictures]
    for picture in sample_pictures():
        alone = run_json("classify", "--labels", THREE, "--threads", "1", picture)["results"][0]
        for result in together:
            if result["image"] == str(picture):
                assert result["logits"] == pytest.approx(alone["logits"], abs=1e-4)


def test_default_labels_are_those_of_the_model():
    labels = run_json("classify", CAT)["labels"]
    lines = (MODEL / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert labels == [line.strip() for line in lines if line.strip() and line[0] != "#"]


def test_sentences():
    plain = run_json("classify", "--labels", THREE, CAT)["results"][0]["logits"]
    same = run_json("classify", "--labels", THREE, "--sentence", "a photo of a {}.", CAT)
    other = run_json("classify", "--labels", THREE, "--sentence", "{}", CAT)
    words = ("classify", "--labels", THREE, "--sentence", "{}", "--sentence", "a photo of a {}.")
    both = run_json(*words, CAT)["results"][0]["logits"]
    assert same["results"][0]["logits"] == plain
    assert other["results"][0]["logits"] != plain
    assert both != plain and both != other["results"][0]["logits"]


def test_activation_is_taken():
    quick = run_json("classify", "--labels", THREE, "--activation", "quick_gelu", CAT)
    exact = run_json("classify", "--labels", THREE, "--activation", "gelu", CAT)
    assert quick["results"][0]["logits"] != exact["results"][0]["logits"]


def test_standard_input():
    document = run_json("classify", "--labels", THREE, "-", DOG, stdin=CAT.read_bytes())
    assert [result["image"] for result in document["results"]] == ["-", str(DOG)]
    from_file = run_json("classify", "--labels", THREE, CAT, DOG)
    assert document["results"][0]["logits"] == from_file["results"][0]["logits"]


def test_model_from_the_environment(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("make", "samples"))
    (folder / "labels.txt").write_text("a thing\n")
    document = run_json("classify", CAT, env=environment(ATTRIPROMPT_MODEL=str(folder)))
    assert document["labels"] == ["a thing"]
    assert document["results"][0]["probabilities"] == [1.0]


# ---- Labels files ----


@pytest.mark.parametrize(
    "text",
    [
        b"cat\nrubber duck\n\xe7\x8c\xab",
        b"cat\r\nrubber duck\r\n\xe7\x8c\xab\r\n",
        b"\xef\xbb\xbf# animals\n\n  cat\t\nrubber duck\n#more\n\xe7\x8c\xab\n\n",
    ],
)
def test_labels_file(tmp_path, text):
    file = tmp_path / "labels.txt"
    file.write_bytes(text)
    assert run_json("classify", "--labels-file", file, CAT)["labels"] == ["cat", "rubber duck", "猫"]


def test_labels_from_a_pipe():
    words = ("classify", "--labels-file", "-", CAT)
    assert run_json(*words, stdin=b"cat\ndog\n")["labels"] == ["cat", "dog"]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="/proc is not mounted")
def test_labels_from_a_pipe_with_a_name():
    words = ("classify", "--labels-file", "/dev/stdin", CAT)
    assert run_json(*words, stdin=b"cat\ndog\n")["labels"] == ["cat", "dog"]
    assert_failure(run(*words), "classify", "/dev/stdin: no labels")


@pytest.mark.parametrize(
    "text, part",
    [
        (b"", "no labels"),
        (b"# nothing\n\n", "no labels"),
        (b"cat\ndog\ncat\n", '"cat"'),
        (b"cat\0dog\n", "NUL"),
        (b"caf\xe9\n", "UTF-8"),
        (b"long " * 5000, "77"),
    ],
)
def test_labels_file_is_refused(tmp_path, text, part):
    file = tmp_path / "labels.txt"
    file.write_bytes(text)
    done = run("classify", "--labels-file", file, CAT)
    assert_failure(done, "classify", part)
    assert done.stdout == b""


def test_labels_on_the_command_line_are_refused():
    assert_failure(run("classify", "--labels", "cat,,dog", CAT), "classify", "label 2")
    assert_failure(run("classify", "--labels", "cat,dog, cat", CAT), "classify", '"cat"')
    assert_failure(run("classify", "--labels", "cat", "--sentence", "a cat", CAT), "classify", "{}")


def test_missing_files(tmp_path):
    assert_failure(run("classify", "--model", tmp_path / "no", CAT), "classify", "no")
    assert_failure(run("classify", "--labels-file", tmp_path / "no", CAT), "classify", "No such")
    folder = tmp_path / "mine"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("make", "samples", "labels.txt"))
    assert_failure(run("classify", "--model", folder, CAT), "classify", "--labels")


# ---- Pictures that cannot be read ----


def test_a_bad_picture_fails_alone(tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(CAT.read_bytes()[:40])
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    words = ("classify", "--labels", THREE, CAT, cut, DOG, text, tmp_path, tmp_path / "no.png", CAT)

    done = run(*words, "--json")
    assert done.returncode == 1
    results = json.loads(done.stdout)["results"]
    failed = [number for number, result in enumerate(results) if "error" in result]
    assert failed == [1, 3, 4, 5] and len(results) == 7
    assert set(results[1]) == {"image", "error"}
    assert results[1]["image"] == str(cut)
    assert "irectory" in results[4]["error"]
    assert "No such file" in results[5]["error"]
    good = run_json("classify", "--labels", THREE, CAT, DOG, CAT)["results"]
    assert [results[i]["predictions"][0]["label"] for i in (0, 2, 6)] == [best(r) for r in good]
    assert len(done.stderr.decode().splitlines()) == 4

    done = run(*words)
    assert done.returncode == 1
    shown = done.stdout.decode()
    assert [str(path) in shown for path in (CAT, DOG, cut, text)] == [True, True, False, False]
    assert str(cut) in done.stderr.decode()


def test_a_picture_over_the_size_limit_is_refused(tmp_path):
    big = tmp_path / "big.png"
    with open(big, "wb") as file:
        file.truncate((64 << 20) + 1)
    assert_failure(run("classify", "--labels", THREE, big), "classify", "67108864 bytes")


def test_a_lost_result_is_a_failure():
    full = "/dev/full"
    if not os.path.exists(full):
        pytest.skip("no /dev/full")
    for words in ("", "--json"):
        with open(full, "wb") as nowhere:
            done = run("classify", "--labels", THREE, *words.split(), CAT, stdout=nowhere)
        assert_failure(done, "classify", "standard output: No space left")
        assert done.stderr.count(b"\n") == 1


# ---- Usage ----


def test_help():
    done = run("classify", "--help")
    assert done.returncode == 0
    assert done.stderr == b""
    text = done.stdout.decode()
    assert text.startswith("Usage: attriprompt classify ")
    assert "Examples:" in text
    for option in "--labels --labels-file --sentence --top-k --model --threads --json".split():
        assert option in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    "words, part",
    [
        ([], "IMAGE"),
        (["--wrong", "x.png"], "--wrong"),
        (["x.png", "--top-k"], "--top-k"),
        (["--top-k", "0", "x.png"], "--top-k"),
        (["--top-k", "many", "x.png"], "many"),
        (["--threads", "-1", "x.png"], "--threads"),
        (["--activation", "relu", "x.png"], "relu"),
        (["--json=yes", "x.png"], "--json"),
        (["--labels", "a", "--labels-file", "b", "x.png"], "--labels-file"),
        (["--labels", "a", "-", "-"], "standard input"),
        (["--labels-file", "-", "x.png", "-"], "standard input"),
    ],
)
def test_usage(words, part):
    assert_usage(run("classify", *words), "classify", part)


# ---- Tables ----

ROW = re.compile(r"^  (.*\S)  +(\d+\.\d)%(?:  (\S+))?$")


def rows(text):
    found = [ROW.match(line) for line in text.splitlines() if line.startswith("  ")]
    assert all(found), text
    return [match.groups() for match in found]


def test_table_in_a_pipe():
    done = run("classify", "--labels-file", LABELS_30, CAT, DOG)
    assert done.returncode == 0
    text = done.stdout.decode()
    assert text.splitlines()[0] == str(CAT)
    assert f"\n\n{DOG}\n" in text
    found = rows(text)
    assert len(found) == 10
    assert all(bar is None for _, _, bar in found)
    assert "\t" not in text and "\033" not in text
    percentages = [float(percentage) for _, percentage, _ in found[:5]]
    assert percentages == sorted(percentages, reverse=True)
    assert len({line.index("%") for line in text.splitlines() if line.startswith("  ")}) == 1


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_table_on_a_terminal(columns):
    words = ("classify", "--labels", "only this", CAT)
    code, text = run_on_terminal(*words, columns=columns)
    assert code == 0
    (label, percentage, bar), = rows(text)
    assert (label, percentage) == ("only this", "100.0")
    assert set(bar) == {"█"}
    assert len(text.splitlines()[1]) < columns
    assert len(bar) == min(50, columns - 13 - len("only this"))


def test_columns_of_the_environment():
    _, text = run_on_terminal(
        "classify", "--labels", "only this", CAT, columns=200, env=environment(COLUMNS="40")
    )
    assert len(text.splitlines()[1]) == 39


def test_terminal_without_utf8():
    _, text = run_on_terminal("classify", "--labels", "cat", CAT, env=environment(LC_ALL="C"))
    assert set(rows(text)[0][2]) == {"#"}


def test_names_cannot_steer_the_terminal(tmp_path):
    picture = tmp_path / "\033]0;owned\a\n.jpg"
    shutil.copy(CAT, picture)
    label = "cat\033[2J\u202e"
    for text in (
        run("classify", "--labels", label, picture).stdout.decode(),
        run_on_terminal("classify", "--labels", label, picture, picture.with_name("\033no"))[1],
    ):
        assert "\033" not in text and "\a" not in text and "\u202e" not in text
        assert "\\x1b]0;owned\\x07\\x0a.jpg" in text
    document = run_json("classify", "--labels", label, picture)
    assert document["labels"] == [label]
    assert document["results"][0]["image"] == str(picture)


def test_a_file_name_that_is_not_utf8(tmp_path):
    picture = os.path.join(os.fsencode(tmp_path), b"caf\xe9.jpg")
    shutil.copy(CAT, picture)
    name = os.fsdecode(picture)
    (result,) = run_json("classify", "--labels", "cat", name)["results"]
    assert result["image"].endswith("caf\ufffd.jpg")
    assert "caf\\xe9.jpg" in run("classify", "--labels", "cat", name).stdout.decode()


def test_a_message_wipes_the_progress(tmp_path):
    pictures = [CAT] * 20 + [tmp_path / "no.png"] + [CAT] * 40
    code, shown = run_on_terminal("classify", "--labels", "cat", *pictures, both=False)
    assert code == 1
    wiped = "\r\033[K"
    assert f"16 of 61 pictures{wiped}attriprompt classify: " in shown
    assert f"\n32 of 61 pictures{wiped}48 of 61 pictures{wiped}" in shown
    assert shown.endswith(wiped)


def test_progress_is_for_people_who_wait():
    pictures = [CAT] * 60
    code, shown = run_on_terminal("classify", "--labels", "cat", *pictures, both=False)
    assert code == 0
    assert "16 of 60 pictures" in shown
    assert shown.endswith("\r\033[K")
    assert run("classify", "--labels", "cat", *pictures).stderr == b""
    assert run_on_terminal("classify", "--labels", "cat", CAT, both=False)[1] == ""
