#!/usr/bin/python3
"""HTTP throughput at saturation against the engine alone, and what HTTP adds to one request.

    tests/bench/bench_http.py [--model DIR]... [--shared-cores] [--rounds 5] [--seconds 5]

The server under wrk and bench_batch, which does the same work without HTTP, take turns; who goes
first changes every round. See README.md for what has to be built and installed first.
"""

import argparse
import math
import statistics
import subprocess
import sys

from compare_image import describe_commit, describe_machine
from http_load import (
    LABELS,
    ROOT,
    SAMPLES,
    Server,
    add_arguments,
    describe,
    on_cores,
    path_and_query,
    settle_arguments,
)

MODELS = (ROOT / "engine/models/emoji-clip", ROOT / "build/bench/vit_b16")
BATCH = 8  # the server's default
WARM_UP_SHARE = 0.2  # of a turn of wrk
LEAST_PICTURES = 160  # in a turn
STAGES = ("decode", "image", "retrieve", "text")


class Engine:
    """bench_batch, which waits for its turns."""

    def __init__(self, options, model):
        command = [ROOT / options.build / "bench/bench_batch", model, options.picture, LABELS]
        command += [options.threads, BATCH]
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            preexec_fn=on_cores(options.cores.server),
        )
        self.backend = self._read().removeprefix("ready ")

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench_batch ended with status {self.process.wait()}")
        return line.rstrip("\n")

    def turn(self, seconds):
        """Pictures a second, and milliseconds of processor time a picture."""
        self.process.stdin.write(f"run {seconds}\n")
        rate, cpu_ms = self._read().split()
        return float(rate), float(cpu_ms)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def saturate(server, options, seconds):
    """One turn of the server; exits if it refuses anything."""
    load = server.load(options.picture, options.connections, seconds, path_and_query())
    if any(answer.status != 200 for answer in load.answers):
        sys.exit(f"not all were answered 200: {load.output}")
    return load


def turn_seconds(server, options):
    """How long a turn must be, judged by some requests one at a time; these come back, too."""
    load = server.load(options.picture, 1, max(5, options.seconds), path_and_query())
    answers = load.steady(1)
    picture_s = statistics.median(a.ms for a in answers) / 1e3
    return max(options.seconds, math.ceil(LEAST_PICTURES * picture_s)), answers


def compare(engine, server, seconds, options):
    ratios, shares = [], []
    engine.turn(1)
    saturate(server, options, seconds)
    for i in range(options.rounds):
        if i % 2 == 0:
            (alone, cpu_ms), load = engine.turn(seconds), saturate(server, options, seconds)
        else:
            load, (alone, cpu_ms) = saturate(server, options, seconds), engine.turn(seconds)
        rate = load.rate(WARM_UP_SHARE * seconds)
        ratios.append(rate / alone)
        own_ms = {name: 1e3 * s / len(load.answers) for name, s in load.cpu_s.items()}
        shares.append(cpu_ms / (own_ms["workers"] + own_ms["loop"]))
        print(
            f"  round {i + 1:2d}  engine {alone:7.2f}, HTTP {rate:7.2f} pictures a second: ratio"
            f" {ratios[-1]:.3f}   CPU ms a picture: engine {cpu_ms:.3f}, workers"
            f" {own_ms['workers']:.3f}, loop {own_ms['loop']:.3f}, wrk {own_ms['wrk']:.3f}"
            f"   others {load.cpu_s['others'] / seconds:.2f} cores"
        )
    for what, values in ("pictures a second", ratios), ("processor time", shares):
        print(
            f"  ratio HTTP / engine, {what}: {statistics.median(values):.3f} median of the rounds"
            f" ({min(values):.3f} to {max(values):.3f})"
        )


def report_one_at_a_time(answers):
    overhead = [a.ms - sum(a.stages[stage] for stage in STAGES) for a in answers]
    queue = [a.stages["queue"] for a in answers]
    print(f"  one at a time, {len(answers)} requests")
    print(f"    seen by the client          {describe([a.ms for a in answers], 'ms')}")
    print(f"    of it not work on a picture {describe(overhead, 'ms')}")
    print(f"      of that in the queue      {describe(queue, 'ms')}")


def run(model, options):
    print(f"\nmodel      {model.relative_to(ROOT) if model.is_relative_to(ROOT) else model}")
    with Engine(options, model) as engine, Server(
        options.build, model, options.threads, options.cores
    ) as server:
        print(f"engine     {engine.backend}")
        seconds, answers = turn_seconds(server, options)
        report_one_at_a_time(answers)
        compare(engine, server, seconds, options)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", action="append", help="folder; default: both of README.md")
    parser.add_argument("--picture", default=SAMPLES / "cat.jpg")
    parser.add_argument("--connections", type=int, default=64, help="of wrk (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    parser.add_argument("--seconds", type=int, default=5, help="of a turn (default 5)")
    parser.add_argument("--build", default="build/release", help="default build/release")
    add_arguments(parser)
    return settle_arguments(parser.parse_args())


def run_models(options, load, run):
    """run(model, options) for each, after what is common to all."""
    sys.stdout.reconfigure(line_buffering=True)
    models = [ROOT / model for model in options.model or MODELS]
    print(f"machine    {describe_machine()}")
    print(f"commit     {describe_commit()}")
    print(f"cores      {options.cores}")
    print(f"load       {load}")
    for model in models:
        if not (model / "model.safetensors").exists():
            sys.exit(f"{model} is missing: run tests/bench/setup.sh")
        run(model, options)


def main():
    options = arguments()
    load = f"{options.threads} threads, {options.connections} connections of wrk"
    run_models(options, load, run)


if __name__ == "__main__":
    main()
