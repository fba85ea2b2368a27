#!/usr/bin/python3
"""Times one image pass of the engine and of ONNX Runtime, in turns, on the same weights.

    tests/bench/compare_image.py [--threads 2] [--rounds 7]

Both programs stay alive for the whole run and one of them at a time is stopped (SIGSTOP), so that
neither its spinning threads nor anything else of it disturbs the other. Each turn begins with an
untimed pass; who goes first changes every round. Exits 1 if the features differ, never for a time.
See README.md for what has to be built and installed first.
"""

import argparse
import array
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "build/bench/vit_b16"
NODE_MODULES = ROOT / "build/bench/node_modules"
BATCHES = (1, 8)
PASSES = 3  # timed passes in a turn; the turn counts as their median
FEATURE_TOLERANCE = 1e-4
MOST_DISTURBANCE = 0.05  # CPU time of other programs, as a share of ours
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


class Contestant:
    """A program that answers "run COUNT" with milliseconds; stopped except during its turn."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **(environment or {})},
        )
        self.version = self._read().removeprefix("ready ")
        self.process.send_signal(signal.SIGSTOP)

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with status {self.process.wait()}")
        return line.rstrip("\n")

    def _turn(self, *lines):
        """The answers to the lines."""
        self.process.send_signal(signal.SIGCONT)
        try:
            answers = []
            for line in lines:
                self.process.stdin.write(line + "\n")
                answers.append(self._read())
            return answers
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def times(self, count):
        """Milliseconds of each timed pass of one turn over the first count pictures."""
        return [float(answer) for answer in self._turn(*[f"run {count}"] * (1 + PASSES))[1:]]

    def features(self, count):
        """The unit features of the first count pictures, one after the other."""
        with tempfile.NamedTemporaryFile() as file:
            self._turn(f"run {count}", f"save {file.name}")
            values = array.array("f")
            values.frombytes(file.read())
            return values

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


def pass_gigaflop(config):
    """The matrix products of the whole tower for one picture, two operations a multiply-add. The
    engine does a little less: it leaves out what nobody reads of the last block."""
    vision = config["vision_config"]
    width, mlp = vision["hidden_size"], vision["intermediate_size"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    tokens = patches + 1
    linear = tokens * (4 * width * width + 2 * width * mlp)
    attention = 2 * tokens * tokens * width
    embedding = patches * 3 * vision["patch_size"] ** 2 * width
    projection = width * config["projection_dim"]
    blocks = vision["num_hidden_layers"] * (linear + attention)
    return 2e-9 * (blocks + embedding + projection)


def cpu_seconds(*contestants):
    """CPU time so far: of the contestants, and of everything else on the machine."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    own = 0
    for contestant in contestants:
        stat = pathlib.Path(f"/proc/{contestant.process.pid}/stat").read_text()
        own += sum(int(field) for field in stat.rsplit(")", 1)[1].split()[11:13])  # utime, stime
    tick = os.sysconf("SC_CLK_TCK")
    return own / tick, (user + nice + system + irq + softirq + steal - own) / tick


def describe_machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    values = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in values.items()}
    flags = set(values.get("flags", "").split())
    known = " ".join(flag for flag in CPU_FLAGS if flag in flags)
    return f"{values.get('model name', 'unknown')}, {os.cpu_count()} cores, {known}"


def describe_commit():
    def git(*arguments):
        return subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def largest_difference(engine, peer):
    """Of the features, over every batch; infinite if a number is not finite."""
    largest = 0.0
    for batch in BATCHES:
        ours, theirs = engine.features(batch), peer.features(batch)
        if len(ours) != len(theirs):
            sys.exit(f"the engine gave {len(ours)} numbers, ONNX Runtime {len(theirs)}")
        for a, b in zip(ours, theirs):
            difference = abs(a - b)
            largest = max(largest, difference if math.isfinite(difference) else math.inf)
    return largest


def compare(engine, peer, batch, rounds):
    """Milliseconds of every pass, a list for each round, of both."""
    times = {engine: [], peer: []}
    for i in range(rounds):
        for contestant in (engine, peer) if i % 2 == 0 else (peer, engine):
            times[contestant].append(contestant.times(batch))
    return times[engine], times[peer]


def report(batch, engine, peer, times, gigaflop):
    print(f"\nbatch {batch}: milliseconds a pass, {PASSES} passes a turn")
    for i, (ours, theirs) in enumerate(zip(*times), 1):
        left, right = ("".join(f"{ms:9.1f}" for ms in turn) for turn in (ours, theirs))
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"  round {i:2d}  {engine.name}{left}   {peer.name}{right}  ratio {ratio:.3f}")
    medians = []
    for contestant, turns in zip((engine, peer), times):
        medians.append(statistics.median(ms for turn in turns for ms in turn))
        rate = batch * gigaflop / medians[-1] * 1e3
        print(
            f"  median  {contestant.name:6} {medians[-1]:9.1f} ms a pass"
            f" {medians[-1] / batch:8.1f} ms a picture {rate:7.1f} GFLOP/s"
        )
    rounds = [statistics.median(a) / statistics.median(b) for a, b in zip(*times)]
    print(
        f"  ratio engine / ort: {medians[0] / medians[1]:.3f} of the medians,"
        f" {statistics.median(rounds):.3f} median of the rounds"
        f" ({min(rounds):.3f} to {max(rounds):.3f})"
    )


def run(engine, peer, options):
    """The whole comparison; its exit status."""
    gigaflop = pass_gigaflop(json.loads((MODEL / "config.json").read_text()))
    print(f"machine    {describe_machine()}")
    print(f"commit     {describe_commit()}")
    print(f"engine     {engine.version}")
    print(f"ort        {peer.version}")
    print(f"precision  f32, {options.threads} threads each, {gigaflop:.2f} GFLOP a picture")

    difference = largest_difference(engine, peer)
    print(f"features   largest difference {difference:.2e}, allowed {FEATURE_TOLERANCE:.0e}")

    before = cpu_seconds(engine, peer)
    for batch in BATCHES:
        report(batch, engine, peer, compare(engine, peer, batch, options.rounds), gigaflop)
    own, others = (b - a for a, b in zip(before, cpu_seconds(engine, peer)))
    print(f"\nCPU time   {own:.0f} s these two, {others:.0f} s others")
    if others > MOST_DISTURBANCE * own:
        print("           too much for figures to be trusted: run it again on an idle machine")
    return 1 if difference > FEATURE_TOLERANCE else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=2, help="of each program (default 2)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--build", default="build/release", help="default build/release")
    return parser.parse_args()


def main():
    sys.stdout.reconfigure(line_buffering=True)
    options = arguments()
    bench_image = ROOT / options.build / "bench/bench_image"
    for path, remedy in (
        (bench_image, "make bench"),
        (NODE_MODULES / "onnxruntime-node", "tests/bench/setup.sh"),
        (MODEL / "image_tower.onnx", "tests/bench/setup.sh"),
    ):
        if not path.exists():
            sys.exit(f"{path} is missing: run {remedy}")

    threads = str(options.threads)
    with Contestant("engine", [bench_image, MODEL, threads]) as engine, Contestant(
        "ort",
        ["node", ROOT / "tests/bench/peer_onnx.js", MODEL, threads],
        {"NODE_PATH": str(NODE_MODULES)},
    ) as peer:
        return run(engine, peer, options)


if __name__ == "__main__":
    sys.exit(main())
