"""A server and wrk for the benchmarks: what was answered when, and who used the processors."""

import os
import pathlib
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from urllib.parse import quote

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "engine/models/emoji-clip/samples"
LABELS = SAMPLES / "labels-30.txt"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Cores:
    """Which cores the server (or the engine alone) has, and which the load comes from."""

    def __init__(self, shared):
        every = sorted(os.sched_getaffinity(0))
        own = 0 if shared or len(every) == 1 else max(1, len(every) // 4)
        self.load = set(every[len(every) - own :] or every)
        self.server = set(every[: len(every) - own])

    def __str__(self):
        if self.load == self.server:
            return f"{len(self.server)}, of the server and of wrk"
        return f"{len(self.server)} of the server, {len(self.load)} of wrk"


def on_cores(cores):
    """For subprocess: the child keeps to these cores."""
    return lambda: os.sched_setaffinity(0, cores)


def add_arguments(parser):
    parser.add_argument(
        "--shared-cores",
        action="store_true",
        help="let wrk run on the cores of the server; without it, wrk has a quarter of all cores",
    )
    parser.add_argument("--threads", type=int, help="workers (default: the cores of the server)")


def settle_arguments(options):
    options.cores = Cores(options.shared_cores)
    options.threads = options.threads or len(options.cores.server)
    return options


def path_and_query(**options):
    labels = ",".join(LABELS.read_text().split("\n")).strip(",")
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return f"/v1/classify?labels={quote(labels)}{more}"


class Answer:
    """One line of wrk_log.lua. Times in seconds and milliseconds, as the names say."""

    def __init__(self, line):
        sent, received, status, retry_after, timing = line.split(" ", 4)
        self.sent_s, self.received_s = int(sent) / 1e6, int(received) / 1e6
        self.ms = (self.received_s - self.sent_s) * 1e3
        self.status = int(status)
        self.retry_after_s = int(retry_after)
        self.stages = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing)}


class Load:
    """What one run of wrk saw, and the processor time of the server's loop, its workers, of wrk,
    and of everything else on the machine."""

    def __init__(self, answers, output, seconds, cpu_s):
        self.answers = answers
        self.output = output
        self.seconds = seconds
        self.cpu_s = cpu_s

    def steady(self, warm_up_s):
        """The answers but for those at the beginning, when the line is filling."""
        if not self.answers:
            sys.exit(f"no answer in {self.seconds} s:\n{self.output}")
        begin_s = min(answer.sent_s for answer in self.answers) + warm_up_s
        return [answer for answer in self.answers if answer.received_s >= begin_s]

    def rate(self, warm_up_s, status=200):
        """Answers of that status a second: the slope of their number over time, since they come in
        batches of some size."""
        times = sorted(a.received_s for a in self.steady(warm_up_s) if a.status == status)
        if len(times) < 3:
            return 0.0
        return statistics.linear_regression(times, range(len(times))).slope

    def describe_cores(self):
        return ", ".join(f"{name} {s / self.seconds:.2f}" for name, s in self.cpu_s.items())


class Server:
    def __init__(self, build, model, threads, cores, *options):
        self.cores = cores
        self.process = subprocess.Popen(
            [
                ROOT / build / "attriprompt",
                *("serve", "--port", "0", "--model", model, "--log-level", "warn"),
                *("--threads", str(threads), "--request-timeout-ms", "120000"),
                *map(str, options),
            ],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=on_cores(cores.server),
        )
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the server ended with status {self.process.wait()}")
        self.url = line.split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def memory_mib(self, name="VmHWM"):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s*(\d+)", text)[1]) / 1024

    def load(self, picture, connections, seconds, target, pause_ms=0):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            settings = {"PICTURE": picture, "LOG": log, "TARGET": target, "PAUSE_MS": pause_ms}
            before = self._cpu_seconds()
            done = subprocess.run(
                [
                    *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"),
                    *("-s", ROOT / "tests/bench/wrk_log.lua", self.url),
                ],
                env={**os.environ, **{name: str(value) for name, value in settings.items()}},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                preexec_fn=on_cores(self.cores.load),
            )
            after = self._cpu_seconds()
            lines = log.read_text().splitlines()
        self._settle()
        used = {name: after[name] - before[name] for name in before}
        used["others"] = max(0, 2 * used["all"] - sum(used.values()))
        del used["all"]
        return Load([Answer(line) for line in lines], done.stdout, seconds, used)

    def _settle(self):
        """Waits until the server has given up what wrk left behind."""
        used = None
        while used != (now := self._cpu_seconds()["workers"]):
            used = now
            time.sleep(0.7)

    def _cpu_seconds(self):
        """So far. The loop is the thread that the process began with."""
        seconds = {"loop": 0.0, "workers": 0.0}
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            name = "loop" if task.name == str(self.process.pid) else "workers"
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            seconds[name] += (int(fields[11]) + int(fields[12])) * TICK_S
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds["wrk"] = used.ru_utime + used.ru_stime
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
        seconds["all"] = (user + nice + system + irq + softirq + steal) * TICK_S
        return seconds


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def describe(values, unit):
    if not values:
        return "none"
    median, most = statistics.median(values), quantile(values, 0.99)
    return f"median {median:.2f}, 99 of 100 within {most:.2f}, at most {max(values):.2f} {unit}"
