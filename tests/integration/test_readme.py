"""Runs every command of README.md.

Before each block of code stands a comment that says how it is tested:

    <!-- test: shell -->       its commands are run in a folder like the root of the tree, in which
                               the sample pictures lie too
    <!-- test: server -->      the same, with a server that stands for http://127.0.0.1:8080; all
                               blocks of one section have the same server
    <!-- test: output -->      it is what the block before it prints
    <!-- test: usage -->       a synopsis: its commands and options are those that --help shows
    <!-- test: no, REASON -->  it is not run here

In a block with lines that begin with "$ ", these are the commands, and what follows each is what it
prints; else all of it is one script. Output is compared loosely: any number stands for any other,
and so do hexadecimal numbers, single letters and white space; "..." stands for anything.
"""

import os
import re
import subprocess

import pytest

from command_line import BINARY, LIMIT_S, ROOT, SAMPLES, environment, run
from serving import Server

README = ROOT / "README.md"
KINDS = ("shell", "server", "output", "usage", "no")
# What is the same but takes less time.
SHORTER = {"--duration 10": "--duration 1", "--warmup 2": "--warmup 1"}
MARK = re.compile(r"<!-- test: (\w+)(?:, (.+))? -->")


class Block:
    """A block of code: where it stands, and what the comment before it says."""

    def __init__(self, number, section, mark, lines):
        self.number = number
        self.section = section
        self.lines = lines
        self.kind, self.reason = mark.groups() if mark else (None, None)
        self.output = None  # a block

    def __str__(self):
        return f"README.md:{self.number}"


def read_blocks(text):
    blocks = []
    section, mark, number = "", None, 0
    lines = text.split("\n")
    while number < len(lines):
        line = lines[number]
        fenced = line.startswith("```")
        begin = number
        if fenced:
            number = lines.index("```", number + 1)
            found = lines[begin + 1 : number]
        elif line.startswith("    ") and not lines[number - 1]:
            while number < len(lines) and (not lines[number] or lines[number].startswith("    ")):
                number += 1
            found = [line[4:] for line in lines[begin:number]]
            number -= 1
        else:
            found = None
        if found:
            while not found[-1]:
                found.pop()
            blocks.append(Block(begin + 1, section, mark, found))
            mark = None
        elif line.startswith("#"):
            section = line
        elif line:
            mark = MARK.fullmatch(line)
        number += 1
    for before, block in zip(blocks, blocks[1:]):
        if block.kind == "output":
            before.output = block
    return blocks


BLOCKS = read_blocks(README.read_text())


def blocks_of(kind):
    found = [block for block in BLOCKS if block.kind == kind]
    return pytest.mark.parametrize("block", found, ids=str)


# ---- What a block says ----


def commands_of(block):
    """Pairs of a script and what it is to print, or None."""
    if not any(line.startswith("$ ") for line in block.lines):
        expected = "\n".join(block.output.lines) if block.output else None
        return [("\n".join(block.lines), expected)]
    found = []
    for line in block.lines:
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif not found[-1][1] and found[-1][0][-1].endswith("\\"):
            found[-1][0].append(line)
        else:
            found[-1][1].append(line)
    return [("\n".join(script), "\n".join(output) or None) for script, output in found]


def loosely(text):
    """What of an output has to be the same."""
    text = re.sub(r"\s+", "", re.sub(r"\b[a-z]\b", "", text))
    text = re.sub(r"[█▉▊▋▌▍▎▏]+", "", text)
    text = re.sub(r"[0-9a-f]{16,}", "0", text)
    return re.sub(r"-?\d+([.,]\d+)*(e-?\d+)?", "0", text)


def assert_like(block, shown, expected):
    pattern = ".*".join(re.escape(loosely(part)) for part in expected.split("..."))
    message = f"{block}: it prints\n{shown}\ninstead of\n{expected}"
    assert re.fullmatch(pattern, loosely(shown)), message


# ---- Running it ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("readme")
    for path in ROOT.iterdir():
        (made / path.name).symlink_to(path)
    (made / "dog.png").symlink_to(SAMPLES / "dog.png")
    (made / "cat.png").symlink_to(SAMPLES / "cat.jpg")
    return made


@pytest.fixture(scope="module")
def server_of():
    """A function that gives the server of a section."""
    running = {}

    def stop():
        for server in running.values():
            server.stop()
        running.clear()

    def give(section):
        if section not in running:
            stop()
            running[section] = Server()
        return running[section]

    yield give
    stop()


def run_block(block, folder, address="127.0.0.1:8080"):
    path = f"{os.path.dirname(BINARY)}:{os.environ['PATH']}"
    for script, expected in commands_of(block):
        for long, short in SHORTER.items():
            script = script.replace(long, short)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("127.0.0.1:8080", address)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment(PATH=path, PYTHONDONTWRITEBYTECODE="1"),
            timeout=LIMIT_S,
        )
        shown = done.stdout.decode()
        assert done.returncode == 0, f"{block}: {script}\n{shown}{done.stderr.decode()}"
        assert not re.search(r'"status":[45]\d\d', shown), f"{block}: {script}\n{shown}"
        if expected:
            assert_like(block, shown.replace(address, "127.0.0.1:8080"), expected)


# First those that need no server: they make files that later ones use.
@blocks_of("shell")
def test_shell(block, folder):
    run_block(block, folder)


@blocks_of("server")
def test_server(block, folder, server_of):
    run_block(block, folder, f"127.0.0.1:{server_of(block.section).port}")


@blocks_of("usage")
def test_usage(block):
    commands = run("--help").stdout.decode()
    for synopsis in re.split(r"\n(?=\S)", "\n".join(block.lines)):
        program, command = synopsis.split()[:2]
        assert program == "attriprompt" and f"\n  {command} " in commands, f"{block}: {synopsis}"
        usage = run(command, "--help").stdout.decode()
        for option in re.findall(r"--[a-z-]+", synopsis):
            assert re.search(rf"{option}\b", usage), f"{block}: {command} has no {option}"


def test_every_block_says_how_it_is_tested():
    assert len(BLOCKS) > 10
    for before, block in zip([None, *BLOCKS], BLOCKS):
        first = block.lines[0]
        assert block.kind in KINDS, (
            f"{block}: no comment before the block that begins with '{first}' says how it is "
            f"tested, such as <!-- test: shell -->; see {os.path.basename(__file__)}"
        )
        assert bool(block.reason) == (block.kind == "no"), f"{block}: a reason goes with 'no' alone"
        if block.kind == "output":
            assert before.kind in ("shell", "server"), f"{block}: not after what could print it"
