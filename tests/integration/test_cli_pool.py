import json
import math
import shutil

import numpy
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
)
from pool_files import random_pool, read_safetensors, write_pool

EMOJI = {"text_width": 128, "joint_width": 128, "text_blocks": 6}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "groups.safetensors"


def pool(path, **changes):
    random_pool(path, **{**EMOJI, **changes})
    return path


def lines_of(text):
    """What stands behind each name of the text report, without the metadata."""
    lines = [line for line in text.splitlines() if not line.startswith(" ")]
    return {line[:19].strip(): line[19:] for line in lines}


# ---- What it tells ----


def test_document(file):
    wanted = {"groups": 6, "prompts": 40, "tokens": 2, "clusters": 5, "per_cluster": 3, "depth": 4}
    texts = {"sentence": "the {}", "cluster_space": "ln", "retrieval": "topk_pooled", "pos0": "0"}
    pool(file, **wanted, **texts, name="mine", logit_scale=3.5, colour="blue")
    document = run_json("pool", "inspect", file)
    keys = document.pop("keys")
    assert document.pop("logit_scale") == pytest.approx(math.exp(3.5))
    _, metadata = read_safetensors(file)
    assert document == {
        "file": str(file),
        "name": "mine",
        "text_width": 128,
        "text_blocks": 6,
        "query_width": 128,
        "query_space": "joint",
        "metadata": metadata,
        "model": None,
        **wanted,
        **texts,
        "pos0": False,
    }
    assert metadata["colour"] == "blue" and metadata["logit_scale"] == "3.5"
    assert list(document["metadata"]) == sorted(metadata)
    assert len(keys) == 6


def test_figures_of_the_keys(file):
    pool(file, groups=6, prompts=12)
    keys = read_safetensors(file)[0]["pool.keys"].astype(float)
    reported = run_json("pool", "inspect", file)["keys"]
    assert len(reported) == 6
    for group, figures in zip(keys, reported):
        lengths = numpy.linalg.norm(group, axis=1)
        units = group / lengths[:, None]
        cosines = units @ units.T
        between = cosines[numpy.triu_indices(12, 1)]
        assert set(figures) == {"cosine", "nearest", "lengths"}
        assert figures["cosine"] == {
            "least": pytest.approx(between.min(), abs=1e-6),
            "mean": pytest.approx(between.mean(), abs=1e-6),
            "greatest": pytest.approx(between.max(), abs=1e-6),
        }
        first, second = figures["nearest"]
        assert first < second
        assert cosines[first, second] == pytest.approx(between.max(), abs=1e-6)
        assert figures["lengths"] == pytest.approx([lengths.min(), lengths.max()], rel=1e-6)


def test_text(file):
    pool(file, clusters=5, per_cluster=3, depth=4, tokens=2, name="mine", colour="blue")
    done = run("pool", "inspect", file)
    assert done.returncode == 0
    assert done.stderr == b""
    lines = lines_of(done.stdout.decode())
    assert lines["file"] == str(file)
    assert lines["name"] == "mine"
    assert lines["prompts"].startswith("32 of 2 tokens, shared")
    assert lines["text tower"] == "6 blocks, width 128; prompts enter the first 4"
    assert lines["composition"].startswith("5 clusters of patches take 3 prompts each")
    assert "distinct" in lines["retrieval"]
    assert "raw space" in lines["retrieval"] and "joint space" in lines["retrieval"]
    assert lines["keys"].startswith("cosines from ")
    text = done.stdout.decode()
    for key, value in read_safetensors(file)[1].items():
        assert f"\n  {key:17}  {value}\n" in text
    assert "fits the model" not in text


def test_text_of_a_pool_for_each_block(file):
    pool(file, groups=6, prompts=8, clusters=1)
    lines = lines_of(run("pool", "inspect", file).stdout.decode())
    assert lines["prompts"] == "8 of 1 token, others for each text block"
    assert lines["composition"].startswith("1 cluster of patches takes 1 prompt each")
    assert [f"keys of group {group}" in lines for group in range(7)] == [True] * 6 + [False]


def test_a_pool_of_one_prompt(file):
    pool(file, prompts=1, clusters=1)
    (figures,) = run_json("pool", "inspect", file)["keys"]
    assert figures["cosine"] == {"least": 0, "mean": 0, "greatest": 0}
    assert run("pool", "inspect", file).returncode == 0


def test_name_of_the_file_stands_in(tmp_path):
    for name, wanted in (
        ("groups.safetensors", "groups"),
        ("groups.v2.bin", "groups.v2.bin"),
        ("x" * 100 + ".safetensors", "x" * 64),
    ):
        assert run_json("pool", "inspect", pool(tmp_path / name))["name"] == wanted


def test_a_long_name_is_cut_between_characters(tmp_path):
    name = run_json("pool", "inspect", pool(tmp_path / ("x" + "é" * 40 + ".safetensors")))["name"]
    assert name == "x" + "é" * 31


def test_metadata_cannot_steer_the_terminal(file):
    key, value = "ev\033il\u202e", "a\033[2J\nb\u202e café 猫"
    name, sentence = "n\033]0;x\a", "a \033[1m{}"
    pool(file, name=name, sentence=sentence, **{key: value})
    shown = (
        run("pool", "inspect", file).stdout.decode(),
        run_on_terminal("pool", "inspect", "--model", MODEL, file)[1],
    )
    for text in shown:
        assert not set("\033\a\u202e") & set(text)
        assert "\n  ev\\x1bil\\u202e     a\\x1b[2J\\x0ab\\u202e café 猫\n" in text
        assert "\nname               n\\x1b]0;x\\x07\n" in text
        assert "\n  sentence           a \\x1b[1m{}\n" in text

    done = run("pool", "inspect", "--json", file)
    assert b"\033" not in done.stdout and b"\a" not in done.stdout
    document = json.loads(done.stdout)
    assert document["metadata"][key] == value
    assert document["name"] == name
    assert document["sentence"] == sentence


# ---- Whether it fits ----


def test_a_pool_that_fits(file):
    fingerprint = run_json("model", "inspect")["fingerprint"]
    for changes in ({}, {"model_fingerprint": fingerprint}):
        pool(file, **changes)
        document = run_json("pool", "inspect", "--model", MODEL, file)
        assert document["model"] == {"folder": str(MODEL), "fits": True, "why": None}
        done = run("pool", "inspect", "--model", MODEL, file)
        assert done.returncode == 0
        assert lines_of(done.stdout.decode())["fits the model"] == "yes"


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"text_width": 64}, "the last dimension of pool.values is 64"),
        ({"joint_width": 64}, "the last dimension of pool.keys is 64"),
        ({"query_space": "raw"}, "width of the vision tower is 192"),
        ({"text_blocks": 5}, "the first dimension of query_mean is 5"),
        ({"prompts": 80, "clusters": 65}, '"clusters" is 65'),
        ({"prompts": 80, "clusters": 5, "per_cluster": 15}, "context of 77"),
        ({"model_fingerprint": "0" * 64}, '"model_fingerprint" is 000000000000'),
    ],
)
def test_a_pool_that_does_not_fit(file, changes, part):
    pool(file, **changes)
    assert run_json("pool", "inspect", file)["model"] is None
    document = run_json("pool", "inspect", "--model", MODEL, file, code=1)
    assert set(document["model"]) == {"folder", "fits", "why"}
    assert document["model"]["fits"] is False
    assert part in document["model"]["why"]
    assert document["prompts"] == changes.get("prompts", 32)

    done = run("pool", "inspect", "--model", MODEL, file)
    assert done.returncode == 1
    fit = lines_of(done.stdout.decode())["fits the model"]
    assert fit.startswith("no: ") and part in fit


def test_a_model_is_only_looked_at_when_asked(file, tmp_path):
    pool(file)
    elsewhere = environment(ATTRIPROMPT_MODEL=str(tmp_path / "no"))
    assert run_json("pool", "inspect", file, env=elsewhere)["model"] is None
    done = run("pool", "inspect", "--model", tmp_path, file)
    assert_failure(done, "pool", str(tmp_path))
    assert done.stdout == b""


# ---- What it refuses ----


def assert_refused(path, part):
    for words in ((), ("--json",)):
        done = run("pool", "inspect", *words, path)
        assert_failure(done, "pool", part)
        assert f"{path}: " in done.stderr.decode()
        assert done.stdout == b""


def test_files_that_are_no_pool(tmp_path, file):
    assert_refused(tmp_path / "no", "No such file")
    assert_refused(tmp_path, "not a regular file")
    shutil.copy(SAMPLES / "dog.png", file)
    assert_refused(file, "not a safetensors file")
    assert_refused(MODEL / "model.safetensors", '"format" is "pt"')
    file.write_bytes(b"\2\0\0\0\0\0\0\0{]")
    assert_refused(file, "not valid JSON")


def test_a_cut_file(file):
    data = pool(file).read_bytes()
    for size, part in ((0, "0 bytes"), (4, "too short"), (8, "beyond the file"), (100, "beyond")):
        file.write_bytes(data[:size])
        assert_refused(file, part)
    file.write_bytes(data[:-1])
    assert_refused(file, "query_mean")
    file.write_bytes(data + b"x")
    assert_refused(file, "belong to no tensor")


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"format": None}, '"format" is missing'),
        ({"format": "attriprompt.pool/2"}, "attriprompt.pool/1"),
        ({"depth": 7}, "from 0 to 6"),
        ({"clusters": 0}, '"clusters"'),
        ({"clusters": "4x"}, '"4x"'),
        ({"per_cluster": 9}, "more than the 32 prompts"),
        ({"pos0": 2}, '"pos0"'),
        ({"sentence": None}, '"sentence" is missing'),
        ({"sentence": "a photo"}, "exactly one {}"),
        ({"cluster_space": "blue"}, "raw, ln, joint"),
        ({"query_space": "ln"}, "joint, raw"),
        ({"retrieval": "best"}, "distinct, topk_pooled"),
        ({"model_fingerprint": "abc"}, '"model_fingerprint"'),
        ({"logit_scale": "nan"}, '"logit_scale"'),
        ({"name": ""}, '"name"'),
        ({"name": "x" * 65}, "64 bytes"),
    ],
)
def test_wrong_metadata(file, changes, part):
    assert_refused(pool(file, **changes), part)


def test_wrong_tensors(file):
    random = numpy.random.default_rng(1)
    values, keys = random.normal(size=(1, 8, 1, 128)), random.normal(size=(1, 8, 128))
    mean = numpy.zeros((6, 128))
    for one, other, third, part in (
        (values * numpy.nan, keys, mean, "pool.values: holds a value that is not finite"),
        (values, keys * numpy.inf, mean, "pool.keys: holds a value that is not finite"),
        (values, keys * 0, mean, "the key of prompt 0 in group 0 is zero"),
        (values, keys[:, :7], mean, "pool.keys has shape [1, 7, 128]"),
        (values[0], keys, mean, "pool.values has shape [8, 1, 128]"),
        (values, keys, mean[:, :100], "query_mean has shape [6, 100]"),
        (values.repeat(3, 0), keys.repeat(3, 0), mean, "3 groups"),
        (values[:, :0], keys, mean, "pool.values has shape [1, 0, 1, 128]"),
    ):
        write_pool(file, one, other, third)
        assert_refused(file, part)


# ---- Usage ----


def test_help():
    for words in (("--help",), ("inspect", "--help"), ("inspect", "-h")):
        done = run("pool", *words)
        assert done.returncode == 0
        assert done.stderr == b""
        text = done.stdout.decode()
        assert text.startswith("Usage: attriprompt pool inspect ")
        assert "Examples:" in text
        assert all(option in text for option in ("--model", "--json", "--help"))
        assert max(map(len, text.splitlines())) <= 100
    assert "\n  pool " in run("--help").stdout.decode()


@pytest.mark.parametrize(
    "words, part",
    [
        ([], "inspect"),
        (["look", "x"], "inspect"),
        (["inspect"], "FILE"),
        (["inspect", "x", "y"], "FILE"),
        (["inspect", "x", "--wrong"], "--wrong"),
        (["inspect", "x", "--model"], "--model"),
        (["inspect", "x", "--json=yes"], "--json"),
    ],
)
def test_usage(words, part):
    assert_usage(run("pool", *words), "pool", part)
