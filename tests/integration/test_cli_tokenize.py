import pytest

from command_line import assert_failure, assert_usage, run, run_json


def test_document():
    document = run_json("tokenize", "a photo of a cat.", "cat", "")
    assert set(document) == {"ids"}
    sentence, word, nothing = document["ids"]
    start, end = nothing
    assert sentence[0] == word[0] == start
    assert sentence[-1] == word[-1] == end
    assert start not in sentence[1:-1] and end not in sentence[1:-1]
    assert word[1:-1] == sentence[-2 - len(word[1:-1]) : -2]


def test_lines_of_ids():
    done = run("tokenize", "a photo", "Käfer 猫")
    ids = run_json("tokenize", "a photo", "Käfer 猫")["ids"]
    assert done.stdout.decode().splitlines() == [" ".join(map(str, line)) for line in ids]


def test_lines_of_standard_input():
    texts = ["cat", "", "  dog ", "猫", "the end"]
    expected = run_json("tokenize", *texts)["ids"]
    assert run_json("tokenize", "-", stdin="\n".join(texts).encode())["ids"] == expected
    assert run_json("tokenize", "-", stdin="\r\n".join(texts).encode() + b"\r\n")["ids"] == expected
    assert run_json("tokenize", "-", stdin=b"")["ids"] == []
    around = run_json("tokenize", "cat", "-", "the end", stdin="\n  dog \n猫\n".encode())["ids"]
    assert around == expected


def test_many_lines():
    lines = [f"line {number} of many" for number in range(5000)]
    ids = run_json("tokenize", "-", stdin="\n".join(lines).encode())["ids"]
    assert len(ids) == 5000
    assert ids[4999] == run_json("tokenize", lines[4999])["ids"][0]


def test_a_long_text_is_cut_and_said_so():
    done = run("tokenize", "short", "long " * 100)
    assert done.returncode == 0
    short, long = (line.split() for line in done.stdout.decode().splitlines())
    assert len(long) == 77
    assert long[-1] == short[-1]
    assert done.stderr == b"attriprompt tokenize: text 2 was cut to 77 ids, the model's context\n"
    done = run("tokenize", "-", stdin=b"short\n" + b"long " * 100 + b"\n" + b"long " * 100)
    assert b"2 of 3 texts" in done.stderr
    assert run("tokenize", "short").stderr == b""


def test_a_bad_text_fails_alone():
    lines = b"cat\ncaf\xe9\nnul \0 byte\ndog\n"
    document = run_json("tokenize", "-", stdin=lines, code=1)
    assert [ids is None for ids in document["ids"]] == [False, True, True, False]
    assert document["ids"][3] == run_json("tokenize", "dog")["ids"][0]
    done = run("tokenize", "-", stdin=lines)
    assert done.returncode == 1
    shown = done.stdout.decode().split("\n")
    assert [bool(line) for line in shown] == [True, False, False, True, False]
    assert b"text 2: " in done.stderr and b"text 3: " in done.stderr


def test_a_line_over_the_limit_is_refused():
    done = run("tokenize", "-", stdin=b"x" * ((1 << 20) + 1))
    assert_failure(done, "tokenize", "text 1: more than 1048576 bytes")


def test_help():
    done = run("tokenize", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"Usage: attriprompt tokenize ")
    assert b"Examples:" in done.stdout


@pytest.mark.parametrize("words, part", [([], "TEXT"), (["--wrong", "a"], "--wrong")])
def test_usage(words, part):
    assert_usage(run("tokenize", *words), "tokenize", part)


def test_missing_model(tmp_path):
    assert_failure(run("tokenize", "--model", tmp_path / "no", "a"), "tokenize", "no")
