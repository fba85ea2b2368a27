"""Runs the program as a person at a shell does."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = os.path.join(ROOT, os.environ.get("ATTRIPROMPT_BINARY", "build/release/attriprompt"))
MODEL = ROOT / "engine/models/emoji-clip"
SAMPLES = MODEL / "samples"
LIMIT_S = 120


def environment(**changes):
    left_out = ("ATTRIPROMPT_MODEL", "COLUMNS", "LANG", "LC_ALL", "LC_CTYPE")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "LC_ALL": "C.UTF-8", **changes}


def run(*words, stdin=b"", stdout=subprocess.PIPE, env=None):
    """The finished process, its output as bytes."""
    return subprocess.run(
        [BINARY, *map(os.fspath, words)],
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=env or environment(),
        cwd=ROOT,
        timeout=LIMIT_S,
    )


def run_json(*words, code=0, **options):
    """The one JSON document of a command that ends with this exit status."""
    done = run(*words, "--json", **options)
    assert done.returncode == code, done.stderr.decode()
    return json.loads(done.stdout)


def run_on_terminal(*words, columns=80, both=True, env=None):
    """Exit status and what a terminal of that width shows; with both, standard error too."""
    try:
        here, there = pty.openpty()
    except OSError as error:  # in a chroot without /dev/pts
        pytest.skip(f"no pseudo-terminal: {error}")
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [BINARY, *map(os.fspath, words)],
        stdin=subprocess.DEVNULL,
        stdout=there if both else subprocess.PIPE,
        stderr=there,
        env=env or environment(),
        cwd=ROOT,
    ) as process:
        os.close(there)
        shown = b""
        while True:
            try:
                step = os.read(here, 65536)
            except OSError:  # the other end is closed
                break
            if not step:
                break
            shown += step
        os.close(here)
        if process.stdout:
            process.stdout.read()
        code = process.wait(LIMIT_S)
    return code, shown.decode().replace("\r\n", "\n")


def sample_pictures():
    return sorted(path for path in SAMPLES.iterdir() if path.suffix in (".png", ".jpg"))


def assert_usage(done, command, part):
    """Wrong usage: exit 2, nothing on standard output, one line that says what."""
    assert done.returncode == 2
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"attriprompt {command}: ")
    assert part in lines[0]


def assert_failure(done, command, part):
    assert done.returncode == 1
    message = done.stderr.decode()
    assert message.splitlines()[-1].startswith(f"attriprompt {command}: "), message
    assert part in message
