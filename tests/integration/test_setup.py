"""deploy/setup.sh on systems that it knows and on others. Nothing is ever installed here."""

import os
import subprocess

import pytest

from command_line import ROOT

STUBS = {
    "dpkg-query": "echo installed",
    "apt-get": "echo apt-get was called; exit 1",
}


@pytest.fixture
def setup(tmp_path):
    for name, line in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)

    def run(about, *groups):
        (tmp_path / "os-release").write_text(about)
        env = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "OS_RELEASE": str(tmp_path / "os-release"),
        }
        command = [ROOT / "deploy/setup.sh", *groups]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    "about", ["ID=debian\nVERSION_ID=12\n", 'ID=debian\nVERSION_ID="13"\n', "ID=debian\n"]
)
def test_debian(setup, about):
    done = setup(about, "build", "test")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "about",
    [
        "ID=debian\nVERSION_ID=11\n",
        "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n",
        "ID=fedora\nVERSION_ID=40\n",
        "",
    ],
)
def test_other_systems_are_told_what_is_needed(setup, about):
    done = setup(about, "build", "run")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "not Debian 12 or newer" in done.stderr
    listed = done.stderr.split("differently):\n")[1].split()
    assert {"libuv1-dev", "libjpeg62-turbo-dev", "curl"} <= set(listed)
    assert "libcmocka-dev" not in listed


def test_unknown_group(setup):
    done = setup("ID=debian\nVERSION_ID=12\n", "everything")
    assert done.returncode == 2
    assert "everything" in done.stderr
