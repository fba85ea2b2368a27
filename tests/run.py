#!/usr/bin/python3
"""Runs the tests of one build variant: unit tests, fuzz corpora, integration tests.

The last line of standard output is "N passed, N failed". The exit status is 1 if a test failed or
if none ran.
"""

import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNIT_LIMIT_S = 300
REPLAY_LIMIT_S = 120
PYTEST_TEST_LIMIT_S = 180
PYTEST_LIMIT_S = 1800
# Under ThreadSanitizer, ten times as slow, what has little to do with threads would only take time:
# integration tests of which others see the same threads, and unit tests that start none.
ONE_THREAD = {
    "test_cli_bench",
    "test_cli_classify",
    "test_cli_embed",
    "test_cli_model",
    "test_cli_pool",
    "test_cli_prompted",
    "test_cli_tokenize",
    "test_default_labels",
    "test_deploy",
    "test_emoji_groups",
    "test_import_pool",
    "test_install",
    "test_preprocess_photos",
    "test_setup",
    "test_tokenizer_bulk",
}
STARTS_THREADS = re.compile(
    r"pthread_create|parallel_create|engine_open|prompted_open|workers_create|things\.h"
)
RELEASE_ONLY = {"test_readme"}  # README.md is about that build
AT_A_TIME = 2  # they wait for processes to start more than they compute

SANITIZER_OPTIONS = {
    # 2: cmocka must not take over the signals, or a crash would lose its stack.
    "ASAN_OPTIONS": "detect_leaks=1:handle_segv=2:handle_abort=2:handle_sigfpe=2:handle_sigill=2",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Tally:
    """Counts, and prints a line for each thing that ran. Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.passed = 0
        self.failed = 0
        self.skipped = []

    def add(self, name, passed, failed, skipped, seconds, output=""):
        with self.lock:
            self.passed += passed
            self.failed += failed
            self.skipped += [f"{name}: {reason}" for reason in skipped]
            self.show(name, passed, failed, skipped, seconds, output)

    def show(self, name, passed, failed, skipped, seconds, output):
        parts = [f"{passed} passed"]
        if failed:
            parts.append(f"{failed} failed")
        if skipped:
            parts.append(f"{len(skipped)} skipped")
        mark = "FAIL" if failed else "ok"
        print(f"{mark:4}  {name:32}  {', '.join(parts)}  ({seconds:.1f} s)", flush=True)
        if failed and output:
            print("      | " + output.rstrip().replace("\n", "\n      | "), flush=True)


class Finished:
    """What is left of a command: its exit status in words, its output, how long it took."""

    def __init__(self, code, output, seconds, limit_s):
        self.ok = code == 0
        self.output = output
        self.seconds = seconds
        if code is None:
            self.end = f"stopped after {limit_s} s"
        elif code < 0:
            self.end = f"killed by {signal.Signals(-code).name}"
        else:
            self.end = f"exit status {code}"


RUNNING = set()  # processes, so that Ctrl-C leaves none behind


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(command, limit_s, environment):
    """Runs a command in a process group of its own and leaves nothing of it behind."""
    started = time.monotonic()
    if not Path(command[0]).exists():
        return Finished(127, f"{command[0]}: not built", 0, limit_s)
    output = tempfile.TemporaryFile()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    RUNNING.add(process)
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        RUNNING.discard(process)
        kill_group(process)
        process.wait()
    output.seek(0)
    text = output.read().decode("utf-8", "replace")
    output.close()
    return Finished(code, text, time.monotonic() - started, limit_s)


def read_tap(output):
    """(planned, passed, failed, skipped names) of what cmocka prints in TAP form."""
    planned = passed = failed = 0
    skipped = []
    for line in output.splitlines():
        plan = re.match(r"1\.\.(\d+)$", line)
        result = re.search(r"(not ok|ok) \d+ (# SKIP|-) (.*)$", line)
        if plan:
            planned += int(plan[1])
        elif result and result[2] == "# SKIP":
            skipped.append(result[3])
        elif result and result[1] == "ok":
            passed += 1
        elif result:
            failed += 1
    return planned, passed, failed, skipped


def run_unit_test(binary, environment, tally):
    ended = run([binary], UNIT_LIMIT_S, dict(environment, CMOCKA_MESSAGE_OUTPUT="TAP"))
    planned, passed, failed, skipped = read_tap(ended.output)
    output = ended.output
    unfinished = max(0, planned - passed - failed - len(skipped))
    failed += unfinished
    if planned == 0 or not ended.ok:
        failed = max(failed, 1)
        output += f"\n{binary.name}: {ended.end}"
    if unfinished:
        output += f"; {unfinished} of {planned} tests did not finish"
    tally.add(binary.name, passed, failed, skipped, ended.seconds, output)


def replay_corpus(binary, environment, tally):
    """One test a file; file by file only where the whole corpus did not pass at once."""
    corpus = ROOT / "tests/fuzz/corpus" / binary.name[len("fuzz_"):]
    files = sorted(path for path in corpus.glob("*") if path.is_file())
    if not files:
        tally.add(binary.name, 0, 1, [], 0, f"{corpus.relative_to(ROOT)}: no files to replay")
        return
    ended = run([binary, *files], REPLAY_LIMIT_S, environment)
    seconds = ended.seconds
    faults = []
    if not ended.ok:
        for path in files:
            alone = run([binary, path], REPLAY_LIMIT_S, environment)
            seconds += alone.seconds
            if not alone.ok:
                faults.append(f"{path.relative_to(ROOT)}: {alone.end}\n{alone.output}")
        if not faults:
            faults.append(f"each file passes alone, all together: {ended.end}\n{ended.output}")
    passed = len(files) - len(faults)
    tally.add(binary.name, passed, len(faults), [], seconds, "\n".join(faults))


def run_pytest(source, environment, tally):
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [f"--timeout={PYTEST_TEST_LIMIT_S}", f"--junitxml={report}", source]
        ended = run(command, PYTEST_LIMIT_S, environment)
        try:
            cases = list(ElementTree.parse(report).iter("testcase"))
        except (OSError, ElementTree.ParseError):
            cases = []
    failed = 0
    skipped = []
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped.append(f"{case.get('name')}: {case.find('skipped').get('message')}")
    passed = len(cases) - failed - len(skipped)
    if not ended.ok or not cases:
        failed = max(failed, 1)
    output = f"{ended.output}\n{source.name}: {ended.end}"
    tally.add(source.stem, passed, failed, skipped, ended.seconds, output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, type=Path, help="such as build/release")
    build = parser.parse_args().build.resolve()

    environment = dict(os.environ, ATTRIPROMPT_BINARY=str(build / "attriprompt"))
    for name, options in SANITIZER_OPTIONS.items():
        environment.setdefault(name, options)

    tally = Tally()
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        works = []
        threads_only = build.name == "thread"
        for source in sorted(ROOT.glob("tests/unit/test_*.c")):
            if threads_only and not STARTS_THREADS.search(source.read_text()):
                continue
            binary = build / "tests" / source.stem
            works.append(pool.submit(run_unit_test, binary, environment, tally))
        for source in sorted(ROOT.glob("tests/fuzz/fuzz_*.c")) if not threads_only else []:
            binary = build / "fuzz" / source.stem
            works.append(pool.submit(replay_corpus, binary, environment, tally))
        for source in sorted(ROOT.glob("tests/integration/test_*.py")):
            if threads_only and source.stem in ONE_THREAD:
                continue
            if build.name != "release" and source.stem in RELEASE_ONLY:
                continue
            works.append(pool.submit(run_pytest, source, environment, tally))
        try:
            for work in works:
                work.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(RUNNING):
                kill_group(process)
            raise

    print()
    for reason in tally.skipped:
        print(f"skipped  {reason}")
    if tally.passed + tally.failed == 0:
        print(f"no tests found under {build}")
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    return 0 if tally.passed and not tally.failed else 1


if __name__ == "__main__":
    sys.exit(main())
