#!/usr/bin/python3
"""`attriprompt bench` against wrk: the same load on the same server, in turns.

    tests/bench/compare_wrk.py [--pairs 15] [--seconds 2] [--connections 16] [--path /version]

Prints every run and the median of the ratios of each pair. See README.md.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess

from http_load import ROOT, Server, add_arguments, on_cores, settle_arguments

MODEL = ROOT / "engine/models/emoji-clip"


def run(options, *command):
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=on_cores(options.cores.load),
    )
    return done.stdout.decode()


def run_wrk(url, options):
    load = ("-t1", f"-c{options.connections}", f"-d{options.seconds}s", "--latency")
    text = run(options, "wrk", *load, url)
    unit = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    value, name = re.search(r"50%\s+([\d.]+)(us|ms|s)\n", text).groups()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), float(value) * unit[name]


def run_ours(url, options):
    report = json.loads(
        run(
            options,
            *(ROOT / options.build / "attriprompt", "bench", "--url", url, "--json"),
            *("--connections", options.connections, "--duration", options.seconds),
        )
    )
    assert not sum(report["errors"].values()), report["errors"]
    return report["per_second"]["answered"], report["latency_ms"]["accepted"]["p50"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--path", default="/version")
    parser.add_argument("--build", default=pathlib.Path("build/release"), type=pathlib.Path)
    add_arguments(parser)
    options = settle_arguments(parser.parse_args())

    sides = {"wrk": run_wrk, "bench": run_ours}
    ratios = []
    with Server(options.build, MODEL, options.threads, options.cores) as server:
        url = server.url + options.path
        print(f"cores {options.cores}")
        print(f"{url}, {options.connections} connections, {options.seconds} s a run")
        for pair in range(options.pairs):
            rates = {}
            for name in sorted(sides, reverse=pair % 2 == 0):  # who begins changes
                rates[name], p50_ms = sides[name](url, options)
                print(f"  {name:5}  {rates[name]:9.1f} /s  p50 {p50_ms:6.3f} ms", flush=True)
            ratios.append(rates["bench"] / rates["wrk"])
            print(f"         bench / wrk {ratios[-1]:.3f}", flush=True)
    print(f"median of {len(ratios)} ratios: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
