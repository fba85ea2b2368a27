import base64
import email
import json
import math
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from command_line import (
    BINARY,
    LIMIT_S,
    ROOT,
    SAMPLES,
    assert_failure,
    assert_usage,
    environment,
    run,
    run_json,
    run_on_terminal,
)
from fake_server import answer, answers, fake_server, read_request
from hostile import FEWER, vanish
from serving import CAT, DOG, serving

DOG_FILE = SAMPLES / "dog.png"
CAT_FILE = SAMPLES / "cat.jpg"
KEYS = ("mean", "p50", "p90", "p99", "p99_9", "max")


def bench(url, *words, code=0):
    return run_json("bench", "--url", url, *words, code=code)


def failures(report):
    return {name: count for name, count in report["errors"].items() if count}


def slowly(delay_of):
    """A behaviour: answer number i of a connection comes after delay_of(i) seconds."""

    def behave(connection):
        with connection.makefile("rb") as stream:
            number = 0
            while read_request(stream):
                time.sleep(delay_of(number))
                connection.sendall(answer())
                number += 1

    return behave


# ---- The real server ----


def test_mixed_bodies_on_a_real_server():
    with serving() as server:
        url = f"http://127.0.0.1:{server.port}/v1/classify"
        words = ["--image", DOG_FILE, "--image", CAT_FILE]
        batch = [*words, "--images-per-request", "4", "--requests", "5", "--connections", "1"]
        words += ["--labels", "tom cat,dog", "--top-k", "1"]
        words += ["--body", "raw", "--body", "multipart", "--body", "json"]
        report = bench(url, *words, "--requests", "24", "--connections", "3")
        several = bench(url, *batch)
    assert report["url"] == url + "?labels=tom%20cat,dog&top_k=1"
    assert report["statuses"] == {"200": 24}
    assert report["requests"]["answered"] == report["requests"]["accepted"] == 24
    assert not failures(report) and report["first_problem"] is None
    assert report["per_second"]["pictures"] == pytest.approx(report["per_second"]["accepted"])
    timing = report["server_timing_ms"]
    assert set(timing) == {"queue", "decode", "image", "retrieve", "text", "total"}
    assert 0 < timing["image"] <= timing["total"] <= report["latency_ms"]["accepted"]["mean"]
    assert several["statuses"] == {"200": 5}
    assert several["per_second"]["pictures"] == pytest.approx(4 * several["per_second"]["accepted"])


def test_a_plain_get_for_a_time():
    with serving() as server:
        url = f"http://127.0.0.1:{server.port}/version"
        report = bench(url, "--duration", "1", "--warmup", "1", "--connections", "2")
        missing = bench(f"http://127.0.0.1:{server.port}/x", "--requests", "3", code=1)
    assert report["loop"] == "closed" and report["rate"] is None
    assert report["measured_s"] == pytest.approx(1, rel=0.2)
    assert report["per_second"]["pictures"] is None
    sent = report["requests"]["sent"]
    assert report["statuses"] == {"200": sent} and sent > 0
    assert report["per_second"]["answered"] * report["measured_s"] == pytest.approx(sent, abs=2.5)
    assert report["connections_opened"] == 2
    assert missing["statuses"] == {"404": 3}
    assert missing["first_problem"] == "404: there is nothing at /x"
    assert missing["latency_ms"]["accepted"]["count"] == 0
    assert missing["latency_ms"]["accepted"]["p50"] is None


def test_more_connections_than_a_server_takes():
    with serving("--max-connections", "4") as server:
        url = f"http://127.0.0.1:{server.port}/version"
        report = bench(url, "--connections", "12", "--duration", "1", "--timeout-ms", "1000")
    assert report["statuses"].keys() == {"200"}
    assert failures(report)


# ---- What is sent ----


def pictures_of(request):
    kind = request.headers["content-type"]
    if kind == "application/octet-stream":
        return [request.body]
    if kind == "application/json":
        images = json.loads(request.body)["images"]
        return [base64.b64decode(image["data"], validate=True) for image in images]
    message = email.message_from_bytes(f"Content-Type: {kind}\n\n".encode() + request.body)
    parts = message.get_payload()
    assert all('name="image"' in part["Content-Disposition"] for part in parts)
    return [part.get_payload(decode=True) for part in parts]


def test_the_requests():
    seen = []

    def reply(request):
        seen.append(request)
        return answer(200, b"fine")

    with fake_server(answers(reply)) as server:
        words = ["--image", DOG_FILE, "--image", CAT_FILE, "--body", "json", "--body", "raw"]
        words += ["--header", "X-Request-Id: abc", "--label-set", "a&b=c", "--pool", "none"]
        report = bench(server.url("/c?x=1"), *words, "--requests", "6", "--connections", "1")
        bench(server.url("/c"), "--images-per-request", "3", *words[:4], "--requests", "1")
    sizes = sum(len(request.body) for request in seen[:6])
    sent_bytes = report["per_second"]["sent_mb"] * 1e6 * report["measured_s"]
    assert sizes < sent_bytes < sizes + 6 * 400
    for request in seen[:6]:
        assert request.target == "/c?x=1&label_set=a%26b%3Dc&pool=none"
        assert request.headers["host"] == f"127.0.0.1:{server.port}"
        assert request.headers["x-request-id"] == "abc"
    assert [pictures_of(request) for request in seen[:6]] == [
        [DOG], [DOG], [CAT], [CAT], [DOG], [DOG],
    ]  # fmt: skip
    kinds = [request.headers["content-type"] for request in seen]
    assert kinds[:6] == ["application/json", "application/octet-stream"] * 3
    assert kinds[6].startswith("multipart/form-data; boundary=")
    assert pictures_of(seen[6]) == [DOG, CAT, DOG]


# ---- Times ----


def assert_latency(found, delays_ms, slack_ms):
    """Against the exact quantiles of what the server waited, which is never too long."""
    delays_ms = sorted(delays_ms)
    exact = {"mean": sum(delays_ms) / len(delays_ms), "max": delays_ms[-1]}
    for key, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)):
        exact[key] = delays_ms[math.ceil(share * len(delays_ms)) - 1]
    for key in KEYS:
        assert exact[key] <= found[key] <= exact[key] * 1.01 + slack_ms, (key, found, exact)


def test_quantiles_of_known_delays():
    def delay(number):
        return 0.3 if number % 10 == 9 else 0.1 if number % 10 > 5 else 0.01

    with fake_server(slowly(delay)) as server:
        report = bench(server.url(), "--connections", "10", "--requests", "200")
    # Connections may end with different numbers of requests, so only what is sure is compared.
    assert report["requests"]["accepted"] == 200
    found = report["latency_ms"]["accepted"]
    assert found["count"] == 200
    slack_ms = 50 * FEWER
    assert 10 <= found["p50"] <= 10 + slack_ms
    assert 300 <= found["p99"] <= 303 + slack_ms
    assert 300 <= found["max"] <= 303 + slack_ms
    assert found["p50"] <= found["p90"] <= found["p99"] <= found["p99_9"] <= found["max"]


def test_quantiles_of_one_connection():
    delays = [0.01 * (1 + number % 10) for number in range(40)]
    with fake_server(slowly(lambda number: delays[number])) as server:
        report = bench(server.url(), "--connections", "1", "--requests", "40")
    assert_latency(
        report["latency_ms"]["accepted"], [1000 * delay for delay in delays], 40 * FEWER
    )
    assert report["per_second"]["answered"] == pytest.approx(40 / report["measured_s"], rel=0.01)


def test_a_stall_counts_for_everyone_it_keeps_waiting():
    """One connection, 50 requests a second; the twentieth answer takes a second. In a closed loop
    one time of 40 is long; on a schedule the 50 due meanwhile are too."""

    def delay(number):
        return 1.0 if number == 20 else 0

    with fake_server(slowly(delay)) as server:
        words = ["--connections", "1", "--requests", "100"]
        closed = bench(server.url(), *words)["latency_ms"]["accepted"]
        opened = bench(server.url(), *words, "--rate", "50")
    corrected = opened["latency_ms"]["accepted"]
    service = opened["latency_ms"]["accepted_from_sending"]
    assert closed["p90"] < 500 and service["p90"] < 500
    assert corrected["p50"] < 600 * FEWER
    assert 700 <= corrected["p90"] <= corrected["max"]
    assert corrected["max"] >= 1000 and closed["max"] >= 1000 and service["max"] >= 1000
    assert opened["requests"]["due"] == opened["requests"]["sent"] == 100
    assert opened["requests"]["late"] >= 40


def test_what_is_due_and_never_sent_is_counted():
    with fake_server(slowly(lambda _: 0.2)) as server:
        words = ["--connections", "2", "--rate", "200", "--duration", "2", "--warmup", "1"]
        report = bench(server.url(), *words)
    requests = report["requests"]
    assert requests["due"] == 400
    assert requests["never_sent"] + requests["sent"] == 400
    assert 10 <= requests["sent"] <= 22 and requests["answered"] == requests["sent"]
    assert report["per_second"]["answered"] <= 11
    latency = report["latency_ms"]
    assert latency["all"]["count"] == 400
    assert latency["accepted"]["count"] == requests["sent"]
    assert latency["all"]["p50"] == pytest.approx(1000, rel=0.15)
    assert latency["accepted_from_sending"]["p50"] < latency["accepted"]["p50"]


# ---- Failures, each by its kind ----


def test_refusals_are_no_times():
    replies = [
        answer(200),
        answer(429, b'{"detail": "full\x1b"}', "Retry-After: 1"),
        answer(503),
        answer(429, b"{}"),
    ]
    lock = threading.Lock()
    count = 0

    def reply(_):
        nonlocal count
        with lock:
            count += 1
            number = count
        if number % 4 != 1:
            time.sleep(0.1)
        return replies[(number - 1) % 4]

    with fake_server(answers(reply)) as server:
        words = ["--requests", "12", "--connections", "1"]
        report = bench(server.url(), *words)
        table = run("bench", "--url", server.url(), *words)
    assert report["statuses"] == {"200": 3, "429": 6, "503": 3}
    assert report["retry_after"] == 3
    assert report["requests"]["accepted"] == 3 and report["requests"]["answered"] == 12
    assert report["latency_ms"]["accepted"]["count"] == 3
    assert report["latency_ms"]["refused_from_sending"]["count"] == 9
    assert report["latency_ms"]["refused_from_sending"]["p50"] >= 100
    assert report["latency_ms"]["accepted"]["p50"] < 100
    assert report["latency_ms"]["all"]["count"] == 12
    assert "\x1b" not in table.stdout.decode()
    assert re.search(r"status 429 +6\n", table.stdout.decode())
    assert re.search(r"Retry-After +3 ", table.stdout.decode())


def failing(text, then=lambda connection: None):
    """A behaviour: one request is answered with this text, and then something happens."""

    def behave(connection):
        with connection.makefile("rb") as stream:
            if read_request(stream):
                connection.sendall(text)
                then(connection)

    return behave


HEAD = b"HTTP/1.1 200 OK\r\n"
CLOSE = b"Connection: close\r\n"


@pytest.mark.parametrize(
    "kind, behave",
    [
        ("closed", failing(b"")),
        ("closed", failing(HEAD + b"Content-Length: 9\r\n\r\nabc")),
        ("reset", failing(HEAD, vanish)),
        ("malformed", failing(b"220 mail.example ESMTP\r\n")),
        ("malformed", failing(answer() + b"more")),
        ("timeout", failing(HEAD, lambda _: time.sleep(0.6))),
        ("timeout", failing(b"", lambda _: time.sleep(0.6))),
    ],
    ids=range(7),
)
def test_failures(kind, behave):
    with fake_server(behave) as server:
        words = ["--requests", "6", "--connections", "2", "--timeout-ms", "300"]
        report = bench(server.url(), *words, code=1)
    assert failures(report) == {kind: 6}
    assert report["requests"]["sent"] == 6
    assert report["requests"]["answered"] == 0 and report["statuses"] == {}
    assert report["latency_ms"]["all"]["count"] == 6
    assert report["latency_ms"]["accepted"]["count"] == 0


@pytest.mark.parametrize(
    "text",
    [
        HEAD + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, b"", "Connection: close"),
        HEAD + b"\r\nto the end",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        answer(200, b"x" * 300000, "Connection: close"),
    ],
    ids=range(5),
)
def test_answers_of_every_form(text):
    """A connection that the server closes after its answer is opened again."""
    with fake_server(failing(text)) as server:
        report = bench(server.url(), "--requests", "8", "--connections", "2")
    assert report["statuses"] == {"200": 8}
    assert report["requests"]["accepted"] == 8
    assert report["connections_opened"] >= 8


def test_a_refusal_before_the_whole_body_was_read(tmp_path):
    def behave(connection):
        if not connection.recv(100):
            return
        connection.sendall(answer(413, b'{"detail": "too large"}'))
        while connection.recv(65536):
            pass

    large = tmp_path / "large"
    large.write_bytes(bytes(40 << 20))  # more than a socket takes at once
    with fake_server(behave) as server:
        report = bench(
            server.url(), "--image", large, "--requests", "4", "--connections", "2", code=1
        )
    assert report["statuses"] == {"413": 4}
    assert report["first_problem"] == "413: too large"


def test_a_server_that_goes_away_for_good():
    lock = threading.Lock()
    served = 0

    def reply(_):
        nonlocal served
        with lock:
            served += 1
            if served == 20:
                server.close()
            return answer() if served < 20 else None

    with fake_server(answers(reply)) as server:
        started = time.monotonic()
        words = ["--requests", "1000000", "--connections", "2", "--timeout-ms", "1000"]
        done = run("bench", "--url", server.url(), *words, "--json")
        assert time.monotonic() - started < 60
    assert_failure(done, "bench", "could not be reached any more")
    report = json.loads(done.stdout)
    assert report["given_up"] and report["requests"]["accepted"] == 19
    assert report["errors"]["connect"] > 0


def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        assert_failure(run("bench", "--url", url), "bench", "refused")


# ---- The user ----


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(number, code):
    arrived = threading.Event()

    def behave(connection):
        with connection.makefile("rb") as stream:
            if not read_request(stream):  # the first connection only tries the address
                return
            connection.sendall(answer())
            read_request(stream)
            arrived.set()
            server.stopping.wait()

    with fake_server(behave) as server:
        command = [BINARY, "bench", "--url", server.url(), "--connections", "1", "--json"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, cwd=ROOT, env=environment()
        ) as process:
            assert arrived.wait(LIMIT_S)
            process.send_signal(number)
            report = json.loads(process.stdout.read())
            assert process.wait(LIMIT_S) == code
    assert report["interrupted"]
    assert report["requests"]["answered"] == 1 and report["requests"]["unfinished"] == 1
    assert 0 < report["measured_s"] < 10


def test_the_table():
    with fake_server(slowly(lambda _: 0.01)) as server:
        done = run("bench", "--url", server.url(), "--requests", "5", "--connections", "1")
        code, shown = run_on_terminal("bench", "--url", server.url(), "--duration", "1")
        words = ["--rate", "100", "--duration", "1", "--warmup", "1"]
        opened = run("bench", "--url", server.url(), *words)
    assert done.returncode == opened.returncode == code == 0
    text = done.stdout.decode()
    assert text.startswith(f"{server.url()}\nclosed loop, 1 connections; ")
    for row in ("requests", "sent", "received", "mean", "p50", "p90", "p99", "p99.9", "max"):
        assert re.search(rf"^  {re.escape(row)} +\d+\.\d", text, re.MULTILINE), row
    assert re.search(r"^  status 200 +5$", text, re.MULTILINE)
    assert "█" not in text and done.stderr == b""
    assert re.search(r"^  max .*█", shown, re.MULTILINE)
    assert "answers a second, 0 refused, 0 failed" in shown
    assert " s left" in shown and shown.index(" s left") < shown.index("closed loop")
    text = opened.stdout.decode()
    assert "open loop, 100 requests a second due, at most 400 at a time" in text
    assert "after 1 s of warm-up" in text
    assert re.search(r"^  due +100$", text, re.MULTILINE)


def test_help():
    done = run("bench", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"Usage: attriprompt bench ")
    assert all(len(line) <= 100 for line in done.stdout.decode().splitlines())


URL = ["--url", "http://127.0.0.1:1/"]


@pytest.mark.parametrize(
    "words, part",
    [
        ([], "no --url"),
        ([*URL, "now"], "'now'"),
        (["--url", "https://127.0.0.1/"], "https is not spoken here"),
        ([*URL, "--connections", "0"], "--connections"),
        ([*URL, "--connections", "10001"], "from 1 to 10000"),
        ([*URL, "--duration", "1", "--requests", "1"], "exclude each other"),
        ([*URL, "--rate", "0"], "--rate"),
        ([*URL, "--rate", "1e3"], "'1e3'"),
        ([*URL, "--rate", "1.5x"], "'1.5x'"),
        ([*URL, "--rate", "100001"], "100000"),
        ([*URL, "--body", "xml"], "'xml'"),
        ([*URL, "--body", "raw"], "go with --image"),
        ([*URL, "--labels", "a"], "go with --image"),
        ([*URL, "--image", "a", "--body", "raw", "--body", "raw"], "twice"),
        ([*URL, "--image", "-", "--image", "-"], "only once"),
        ([*URL, "--image", "a", "--body", "raw", "--images-per-request", "2"], "one picture"),
        ([*URL, "--header", "no colon"], "Name: value"),
        ([*URL, "--header", "Host: x"], "Host"),
        ([*URL, "--image", "a", "--labels", "x" * 9000], "8191"),
        ([*URL, "--wrong"], "--wrong"),
    ],
)
def test_usage(words, part):
    assert_usage(run("bench", *words), "bench", part)


def test_unreadable_picture():
    done = run("bench", *URL, "--image", "no-such-file.png")
    assert_failure(done, "bench", "no-such-file.png")


def test_open_files():
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 64; exec "$0" "$@"', BINARY, "bench", *URL]
        + ["--connections", "100"],
        capture_output=True,
        env=environment(),
        timeout=LIMIT_S,
    )
    assert_failure(done, "bench", "100 connections need 132 open files, and the limit is 64")
