#!/usr/bin/python3
"""Ten times the load that a server can do: what it still does, and how it refuses the rest.

    tests/bench/overload.py [--model DIR]... [--times 10] [--shared-cores] [--rounds 3]

Turns of wrk at capacity (few connections, each waits for its answer) and turns of overload change
with each other. Overload has so many connections that there are always some that do not wait in the
queue, and these pause between an answer and the next request for as long as gives the rate. So the
rate does not fall when the server slows down, until all connections wait. It is counted at the
client, and printed. See README.md.
"""

import argparse
import collections
import statistics

from bench_http import BATCH, WARM_UP_SHARE, run_models, saturate, turn_seconds
from http_load import (
    ROOT,
    SAMPLES,
    Server,
    add_arguments,
    describe,
    path_and_query,
    settle_arguments,
)

FREE_CONNECTIONS = 240  # that do not wait in the queue


class Overload:
    """What the turns of overload do: sizes that follow from the capacity."""

    def __init__(self, capacity, options):
        self.rate = options.times * capacity
        in_work = BATCH * options.threads
        self.rows = max(2 * in_work, int(options.queue_s * capacity))
        self.connections = self.rows + in_work + FREE_CONNECTIONS
        self.pause_ms = max(1, round(1e3 * FREE_CONNECTIONS / self.rate))

    def server_options(self):
        return ["--max-queue-rows", self.rows, "--max-connections", self.connections + 10]

    def turn(self, server, seconds, options):
        target = path_and_query(timeout_ms=options.timeout_ms)
        return server.load(options.picture, self.connections, seconds, target, self.pause_ms)


def report(answers, options):
    """How accepted and refused requests fared, over all turns."""
    by_status = collections.defaultdict(list)
    for answer in answers:
        by_status[answer.status].append(answer)
    print("  " + ", ".join(f"{len(by_status[s])} answered {s}" for s in sorted(by_status)))
    done = [a.ms for a in by_status[200]]
    kept = sum(ms <= options.timeout_ms for ms in done)
    late = len(done) - kept + len(by_status[504])
    print(f"  200: {describe(done, 'ms')}")
    print(f"  accepted within their {options.timeout_ms} ms: {kept}, not: {late}")
    refused = by_status[429]
    print(f"  429: {describe([a.ms for a in refused], 'ms')} at the client")
    print(f"       {describe([a.stages['total'] for a in refused], 'ms')} in the server")
    seconds = collections.Counter(a.retry_after_s for a in refused)
    print("  Retry-After: " + ", ".join(f"{s} s {n} times" for s, n in sorted(seconds.items())))


def take_turns(calm, busy, overload, seconds, options):
    """The answers of all turns of overload."""
    warm_up_s = WARM_UP_SHARE * seconds
    answers, ratios = [], []
    overload.turn(busy, seconds, options)
    for i in range(options.rounds):
        capacity = saturate(calm, options, seconds).rate(warm_up_s)
        load = overload.turn(busy, seconds, options)
        steady = load.steady(warm_up_s)
        answers += steady
        ratios.append(load.rate(warm_up_s) / capacity)
        offered = len(steady) / (seconds - warm_up_s)
        print(
            f"  round {i + 1:2d}  capacity {capacity:7.1f}, asked {offered:7.1f}"
            f" ({offered / capacity:.1f} times), done {ratios[-1] * capacity:7.1f} a second,"
            f" ratio {ratios[-1]:.3f}   cores: {load.describe_cores()}"
        )
        if "Socket errors" in load.output:
            print("  " + load.output.split("Socket errors", 1)[1].split("\n", 1)[0])
    print(
        f"  ratio done / capacity: {statistics.median(ratios):.3f} median of the rounds"
        f" ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    return answers


def run(model, options):
    print(f"\nmodel      {model.relative_to(ROOT) if model.is_relative_to(ROOT) else model}")
    with Server(options.build, model, options.threads, options.cores) as calm:
        seconds, _ = turn_seconds(calm, options)
        capacity = saturate(calm, options, seconds).rate(WARM_UP_SHARE * seconds)
        overload = Overload(capacity, options)
        print(
            f"capacity   {capacity:.1f} a second; overload {overload.rate:.0f} a second,"
            f" {overload.rows} queue rows, {overload.connections} connections"
        )
        with Server(
            options.build, model, options.threads, options.cores, *overload.server_options()
        ) as busy:
            before_mib = busy.memory_mib()
            report(take_turns(calm, busy, overload, seconds, options), options)
            print(f"  most memory {before_mib:.0f} MiB before, {busy.memory_mib():.0f} MiB after")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", action="append", help="folder; default: both of README.md")
    parser.add_argument("--picture", default=SAMPLES / "cat.jpg")
    parser.add_argument("--connections", type=int, default=64, help="at capacity (default 64)")
    parser.add_argument("--times", type=float, default=10, help="the capacity (default 10)")
    parser.add_argument(
        "--queue-s", type=float, default=0.5, help="seconds that a full queue takes (default 0.5)"
    )
    parser.add_argument("--timeout-ms", type=int, default=10000, help="default 10000")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--seconds", type=int, default=10, help="of a turn (default 10)")
    parser.add_argument("--build", default="build/release", help="default build/release")
    add_arguments(parser)
    return settle_arguments(parser.parse_args())


def main():
    options = arguments()
    run_models(options, f"{options.threads} threads", run)


if __name__ == "__main__":
    main()
