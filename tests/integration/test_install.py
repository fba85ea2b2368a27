"""`make install` and `make uninstall`: what lies where, and that it works from there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from command_line import BINARY, LIMIT_S, MODEL, ROOT, environment

SHARED = "share/attriprompt/models/emoji-clip"
BUILT = Path(BINARY).resolve().parent.name
SANITIZERS = "" if BUILT == "release" else BUILT.replace("-", ",")


def make(target, **variables):
    """A make of its own, not one that shares jobs and flags with the make that runs the tests."""
    words = [f"{name}={value}" for name, value in variables.items()]
    env = environment()
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "DESTDIR", "PREFIX"):
        env.pop(name, None)
    command = ["make", "--no-print-directory", f"SAN={SANITIZERS}", target, *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def expected(prefix, config):
    model = [path for path in MODEL.iterdir() if path.is_file()]
    samples = [path for path in (MODEL / "samples").iterdir()]
    files = {f"{SHARED}/{path.name}" for path in model}
    files |= {f"{SHARED}/samples/{path.name}" for path in samples}
    files |= {f"share/doc/attriprompt/{name}" for name in ("LICENSE", "README.md")}
    files |= {"share/doc/attriprompt/attriprompt.conf", "bin/attriprompt"}
    files |= {"lib/systemd/system/attriprompt.service"}
    return {f"{prefix}/{name}" for name in files} | {config}


def run(program, *words, cwd="/"):
    command = [program, *map(os.fspath, words)]
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("prefix")
    make("install", PREFIX=prefix)
    return prefix


def test_it_works_from_any_folder(installed, tmp_path):
    program = installed / "bin/attriprompt"
    picture = installed / SHARED / "samples/dog.png"
    labels = installed / SHARED / "samples/labels-30.txt"
    text = run(program, "classify", "--labels-file", labels, "--top-k", "1", picture, cwd=tmp_path)
    assert text.splitlines()[1].split()[0] == "dog"
    assert "emoji-clip" in run(program, "model", "inspect", cwd=tmp_path)


def test_the_configuration_says_what_is_compiled_in(installed):
    program = installed / "bin/attriprompt"
    config = installed / "etc/attriprompt.conf"
    lines = config.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") for line in lines if line)
    assert f"# model = {installed / SHARED}" in lines
    plain = run(program, "serve", "--print-config")
    assert f"\nmodel = {installed / SHARED}\n" in plain
    assert run(program, "serve", "--print-config", "--config", config) == plain

    uncommented = [line[2:] if " = " in line and "NAME" not in line else line for line in lines]
    config_of_all = installed / "all.conf"
    config_of_all.write_text("\n".join(uncommented), encoding="utf-8")
    told = run(program, "serve", "--print-config", "--config", config_of_all)
    config_of_all.unlink()
    assert told.replace("(from the file)", "(default)") == plain


def test_staging(installed, tmp_path):
    """With DESTDIR nothing is written elsewhere, and nothing tells of the stage."""
    stage = tmp_path / "stage"
    make("install-strip", DESTDIR=stage, PREFIX="/usr")
    assert files_below(stage) == expected("usr", "etc/attriprompt.conf")
    unit = (stage / "usr/lib/systemd/system/attriprompt.service").read_text(encoding="utf-8")
    start = "ExecStart=/usr/bin/attriprompt serve --config /etc/attriprompt.conf "
    assert start in unit and not re.search(r"@\w+@", unit)
    for path in ("bin/attriprompt", "share/doc/attriprompt/attriprompt.conf"):
        data = (stage / "usr" / path).read_bytes()
        assert f"/usr/{SHARED}".encode() in data and bytes(stage) not in data
    assert os.stat(stage / "usr/bin/attriprompt").st_mode & 0o777 == 0o755
    assert os.stat(stage / "usr" / SHARED / "vocab.json").st_mode & 0o777 == 0o644
    assert os.stat(stage / "usr/bin/attriprompt").st_size < os.stat(BINARY).st_size


def test_a_changed_configuration_stays(tmp_path):
    config = tmp_path / "etc/attriprompt.conf"
    make("install", PREFIX=tmp_path)
    assert files_below(tmp_path) == {name[2:] for name in expected(".", "./etc/attriprompt.conf")}
    original = config.read_text(encoding="utf-8")
    config.write_text("port = 9000\n", encoding="utf-8")
    make("install", PREFIX=tmp_path)
    assert config.read_text(encoding="utf-8") == "port = 9000\n"
    make("uninstall", PREFIX=tmp_path)
    assert files_below(tmp_path) == {"etc/attriprompt.conf"}

    make("install", PREFIX=tmp_path)
    config.write_text(original, encoding="utf-8")
    make("uninstall", PREFIX=tmp_path)
    assert not files_below(tmp_path)
    assert not (tmp_path / "share/attriprompt").exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_unit(installed):
    unit = installed / "lib/systemd/system/attriprompt.service"
    command = ["systemd-analyze", "verify", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
