"""labels.txt of a model folder, as the server and the commands read it."""

import shutil

import pytest

from command_line import MODEL, assert_failure, run, run_json
from serving import CAT, serving


@pytest.fixture
def folder(tmp_path):
    leave_out = shutil.ignore_patterns("make", "samples", "labels.txt")
    return shutil.copytree(MODEL, tmp_path / "mine", ignore=leave_out)


def test_server_and_commands_read_the_same_labels(folder, tmp_path):
    text = b"\xef\xbb\xbf# animals\r\ncat\r\n\r\n  rubber duck\t\r\n#no\r\n\xe7\x8c\xab"
    expected = {"cat", "rubber duck", "猫"}
    (folder / "labels.txt").write_bytes(text)
    with serving("--model", folder) as server:
        (result,) = server.post_raw(CAT, "image/jpeg").json()["results"]
    served = {each["label"]: each["score"] for each in result["predictions"]}
    assert set(served) == expected

    picture = tmp_path / "cat.jpg"
    picture.write_bytes(CAT)
    for words in ("--model", folder), ("--labels-file", folder / "labels.txt"):
        document = run_json("classify", *words, picture)
        assert set(document["labels"]) == expected
        for each in document["results"][0]["predictions"]:
            assert each["score"] == pytest.approx(served[each["label"]], abs=1e-4)
    assert run_json("model", "inspect", "--model", folder)["default_labels"] == 3


@pytest.mark.parametrize(
    "text, part",
    [
        (b"cat\ndog\0\n", "labels.txt: line 2 holds a NUL byte"),
        (b"cat\n\ncaf\xe9\n", "labels.txt: line 3 is not UTF-8 text"),
        (b"# nothing\n", "labels.txt: no labels"),
        (b"#" * (4 << 20) + b"\n", "labels.txt: more than 4194304 bytes"),
    ],
    ids=["NUL", "not UTF-8", "nothing", "too long"],
)
def test_server_and_commands_refuse_the_same(folder, text, part):
    (folder / "labels.txt").write_bytes(text)
    assert_failure(run("serve", "--port", "0", "--model", folder), "serve", part)
    assert_failure(run("classify", "--model", folder, "x.png"), "classify", part)
    words = ("classify", "--labels-file", folder / "labels.txt", "x.png")
    assert_failure(run(*words), "classify", part)
    assert_failure(run("model", "inspect", "--model", folder), "model", part)
