import json
import shutil

import pytest

from command_line import MODEL, assert_failure, assert_usage, run, run_json


def test_document():
    document = run_json("model", "inspect")
    config = json.loads((MODEL / "config.json").read_text())
    assert document["name"] == "emoji-clip"
    assert document["folder"].endswith("engine/models/emoji-clip")
    assert document["image_size"] == config["vision_config"]["image_size"]
    assert document["patch_size"] == config["vision_config"]["patch_size"]
    assert document["patches"] == (document["image_size"] // document["patch_size"]) ** 2
    assert document["joint_width"] == config["projection_dim"]
    assert document["context"] == 77
    for tower, section in (("vision", "vision_config"), ("text", "text_config")):
        assert document[tower] == {
            "width": config[section]["hidden_size"],
            "heads": config[section]["num_attention_heads"],
            "blocks": config[section]["num_hidden_layers"],
            "mlp_width": config[section]["intermediate_size"],
        }
    assert document["activation"] in ("quick_gelu", "gelu")
    assert document["layout"] == "huggingface"
    assert document["parameters"] > 1000
    assert document["logit_scale"] > 0
    preprocessing = document["preprocessing"]
    assert preprocessing["crop_size"] == document["image_size"]
    assert len(preprocessing["mean"]) == len(preprocessing["deviation"]) == 3
    sizes = {file["name"]: file["bytes"] for file in document["files"]}
    assert sizes["model.safetensors"] == (MODEL / "model.safetensors").stat().st_size
    assert sizes["config.json"] == (MODEL / "config.json").stat().st_size
    lines = (MODEL / "labels.txt").read_text(encoding="utf-8").split("\n")
    assert document["default_labels"] == sum(bool(line) and line[0] != "#" for line in lines)


def test_text():
    done = run("model", "inspect", "--model", MODEL)
    assert done.returncode == 0
    text = done.stdout.decode()
    for part in (str(MODEL), "vision tower", "text tower", "logit scale", "model.safetensors"):
        assert part in text


def test_a_folder_without_labels(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("make", "samples", "labels.txt"))
    assert run_json("model", "inspect", "--model", folder)["default_labels"] is None
    assert "default labels" not in run("model", "inspect", "--model", folder).stdout.decode()


def test_a_folder_that_is_no_model(tmp_path):
    assert_failure(run("model", "inspect", "--model", tmp_path / "no"), "model", str(tmp_path))
    assert_failure(run("model", "inspect", "--model", tmp_path), "model", str(tmp_path))
    shutil.copy(MODEL / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    done = run("model", "inspect", "--model", tmp_path, "--json")
    assert_failure(done, "model", "model.safetensors")
    assert done.stdout == b""


def test_help():
    for words in (("--help",), ("inspect", "--help")):
        done = run("model", *words)
        assert done.returncode == 0
        assert done.stdout.startswith(b"Usage: attriprompt model inspect ")
        assert b"Examples:" in done.stdout


@pytest.mark.parametrize(
    "words, part",
    [
        ([], "inspect"),
        (["look"], "inspect"),
        (["inspect", "more"], "inspect"),
        (["inspect", "--wrong"], "--wrong"),
        (["inspect", "--model"], "--model"),
    ],
)
def test_usage(words, part):
    assert_usage(run("model", *words), "model", part)
