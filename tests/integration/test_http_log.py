"""The access log, and what names a request: X-Request-Id, traceparent, Server-Timing."""

import os
import pty
import re
import signal
import threading
import time

import pytest

from hostile import FEWER, head
from metrics import read_metrics
from pool_files import emoji_pool
from resources import put_set, wait_until
from serving import CAT, DOG, Server, assert_problem, at_once, read_reply, serving, slow_labels

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
STAGES = ["queue_ms", "decode_ms", "image_ms", "retrieve_ms", "text_ms"]
FIELDS = ["time", "level", "request_id", "method", "path", "route", "status"]
FIELDS += ["bytes_in", "bytes_out", "total_ms"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pool = emoji_pool(tmp_path_factory.mktemp("pool") / "groups.safetensors")
    with serving("--pool", pool, "--max-body-bytes", 200000) as running:
        yield running


def lines_of(server, request_id):
    return [line for line in server.read_log() if line.get("request_id") == request_id]


def line_of(server, request_id):
    (line,) = wait_until(lambda: lines_of(server, request_id), f"{request_id} is not logged")
    return line


# ---- A line for each request ----


def test_a_probe(server):
    """The line comes although nothing else happens."""
    server.get("/livez", {"X-Request-Id": "probe"})
    line = line_of(server, "probe")
    assert list(line) == FIELDS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["level"], line["method"], line["status"]) == ("info", "GET", 200)
    assert line["path"] == line["route"] == "/livez"
    assert (line["bytes_in"], line["bytes_out"]) == (0, len('{"status":"live"}\n'))
    assert 0 <= line["total_ms"] < 60000


def test_a_classification(server):
    assert put_set(server, "pets", ["cat", "dog"]).status == 201
    path = "/v1/classify?label_set=pets"
    headers = {"X-Request-Id": "whole", "traceparent": TRACEPARENT, "Content-Type": "image/png"}
    reply = server.request("POST", path, DOG, headers)
    line = line_of(server, "whole")
    assert list(line) == FIELDS + STAGES + ["label_set", "pool", "trace_id"]
    assert (line["label_set"], line["pool"], line["trace_id"]) == ("pets@1", "groups@1", TRACE)
    assert line["path"] == "/v1/classify"
    assert (line["bytes_in"], line["bytes_out"]) == (len(DOG), len(reply.body))
    timing = dict(re.findall(r"(\w+);dur=([\d.]+)", reply.headers["server-timing"]))
    for stage in STAGES:
        assert line[stage] == float(timing[stage[:-3]])
    assert line["image_ms"] > 0
    assert line["total_ms"] >= line["image_ms"]


def test_no_line_is_lost_or_written_twice():
    count = 2000 // FEWER
    with serving() as running:

        def get(i):
            for n in range(count // 8):
                running.get("/livez", {"X-Request-Id": f"{i}-{n}"})

        at_once(8, get)
    names = [line["request_id"] for line in running.read_log() if "request_id" in line]
    assert sorted(names) == sorted(f"{i}-{n}" for i in range(8) for n in range(count // 8))


def test_a_client_that_has_gone(server):
    with server.connect() as connection:
        lines = b"Content-Length: 10", b"X-Request-Id: gone"
        connection.sendall(head("POST", "/v1/classify", *lines) + b"123")
        time.sleep(0.05)
    line = line_of(server, "gone")
    assert (line["status"], line["bytes_out"], line["route"]) == (499, 0, "/v1/classify")


@pytest.mark.parametrize(
    "path, logged",
    [
        ("/a%22b%5C", '/a"b\\'),
        ("/a%0D%0A%7B%22level%22:1%7D%1B%5B2J", '/a\r\n{"level":1}\x1b[2J'),
        ("/%C3%BC%F0%9F%98%80", "/ü😀"),
        ("/%FF%C3", "/\ufffd\ufffd"),
        ("/" + "x" * 9000, "/" + "x" * 110),
    ],
)
def test_paths_stay_in_their_line(server, path, logged):
    name = f"path-{abs(hash(path))}"
    server.get(path, {"X-Request-Id": name})
    line = line_of(server, name)
    assert line["path"] == logged
    assert "route" not in line


def test_methods_are_cut(server):
    name = "a-long-method"
    reply = server.request("M" * 500, "/livez", headers={"X-Request-Id": name})
    assert reply.status == 405
    assert line_of(server, name)["method"] == "M" * 15


def test_bytes_that_were_not_sent_are_not_counted():
    """Of HEAD, and of what the client has already."""
    with serving() as running:
        tag = running.get("/openapi.json").headers["etag"]
        assert running.get("/openapi.json", {"If-None-Match": tag}).status == 304
        assert running.request("HEAD", "/livez").status == 200
    whole, not_modified, head = [line["bytes_out"] for line in running.read_log() if "path" in line]
    assert (whole > 1000, not_modified, head) == (True, 0, 0)


def test_text():
    with serving("--log-format", "text") as running:
        headers = {"X-Request-Id": "as-text", "traceparent": TRACEPARENT}
        running.get("/livez", headers)
        running.get("/a%1B%5B2J%0Ab", headers)
    first, second = [line for line in running.read_errors().splitlines() if "as-text" in line]
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  "
    rest = rf" [\d.]+ ms in 0 out \d+ as-text trace {TRACE}"
    assert re.fullmatch(stamp + "GET /livez 200" + rest, first)
    assert re.fullmatch(stamp + r"GET /a\?\[2J\?b 404" + rest, second)
    assert not [line for line in running.read_errors().splitlines() if line.startswith("{")]


def test_a_terminal_gets_text():
    try:
        here, there = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal: {error}")
    running = Server(stderr=there)
    os.close(there)
    running.get("/livez", {"X-Request-Id": "seen"})
    shown = b""
    while b"seen" not in shown:
        shown += os.read(here, 65536)
    assert b" info  GET /livez 200 " in shown
    assert b"{" not in shown
    running.stop()
    os.close(here)


# ---- When lines are written ----


def test_a_second_signal_loses_no_line():
    running = Server("--drain-delay-ms", 60000)
    running.signal()
    wait_until(lambda: running.get("/readyz").status == 503, "it stays ready")
    assert running.get("/livez", {"X-Request-Id": "the-last"}).status == 200
    running.signal(signal.SIGINT)
    assert running.wait() == 1
    assert len(lines_of(running, "the-last")) == 1


def test_a_log_that_nobody_reads_stops_nothing():
    here, there = os.pipe()
    running = Server(stderr=there)
    os.close(there)
    count = 0
    while read_metrics(running).value("attriprompt_access_log_dropped_total") == 0:
        for _ in range(100):
            assert running.get("/livez").status == 200
        count += 100
        assert count < 10000
    text = b""

    def read():
        nonlocal text
        while step := os.read(here, 65536):
            text += step

    reader = threading.Thread(target=read)
    reader.start()
    running.stop()
    reader.join()
    os.close(here)
    assert 100 < text.count(b"\n") < count + 100
    assert text.endswith(b'"message":"stopped"}\n')


def test_hang_up_changes_nothing_of_the_log(server):
    server.get("/livez", {"X-Request-Id": "before"})
    server.signal(signal.SIGHUP)
    server.get("/livez", {"X-Request-Id": "after"})
    assert line_of(server, "before")["status"] == line_of(server, "after")["status"] == 200


# ---- Names of requests ----


def answers_of_every_kind(server):
    """(what, the first answer to it) of all ways in which an answer comes about."""
    slow = "&".join(f"labels={label}" for label in slow_labels(77, 150)).replace(" ", "+")
    slow = f"/v1/classify?timeout_ms=1&{slow}"
    large = b"Content-Length: 900000"
    png = b"Content-Type: image/png"
    length = b"Content-Length: %d" % len(DOG)
    no_host = b"GET /livez HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n"
    name = b"X-Request-Id: mine"
    return [
        (200, head("GET", "/livez", name)),
        (200, head("HEAD", "/livez", name)),
        (200, head("GET", "/", name)),
        (200, head("GET", "/metrics", name)),
        (304, head("GET", "/", name, b"If-None-Match: *")),
        (200, head("POST", "/v1/classify?labels=cat,dog", name, png, length) + DOG),
        (404, head("GET", "/nothing", name)),
        (405, head("PUT", "/livez", name)),
        (400, no_host),
        (400, head("GET", "/livez", name, b"Host: twice")),
        (413, head("POST", "/v1/classify", name, large)),
        (413, head("POST", "/v1/classify", name, large, b"Expect: 100-continue")),
        (415, head("POST", "/v1/classify", name, b"Content-Length: 1") + b"x"),
        (422, head("POST", "/v1/classify?top_k=0", name, png, length) + DOG),
        (501, head("POST", "/v1/classify", name, b"Transfer-Encoding: gzip")),
        (504, head("POST", slow, name, png, length) + DOG),
    ]


def test_every_answer_has_the_name_and_the_time(server):
    for status, data in answers_of_every_kind(server):
        with server.connect() as connection, connection.makefile("rb") as stream:
            connection.sendall(data)
            first, headers = stream.readline(), []
            while line := stream.readline().strip():
                headers.append(line.decode().lower().split(": ", 1))
        assert first.split()[1] == b"%d" % status, (first, data[:80])
        assert [value for name, value in headers if name == "x-request-id"] == ["mine"]
        timings = [value for name, value in headers if name == "server-timing"]
        assert len(timings) == 1 and re.search(r"total;dur=[\d.]+$", timings[0])


def test_busy_and_slow_answers_have_them_too():
    options = "--threads", 1, "--max-queue-rows", 1, "--body-timeout-ms", 200 * FEWER
    with serving(*options) as running:

        def post(i):
            path = "/v1/classify?labels=" + ",".join(slow_labels(i)).replace(" ", "+")
            headers = {"X-Request-Id": f"busy-{i}", "Content-Type": "image/png"}
            return running.request("POST", path, DOG, headers)

        replies = at_once(8, post)
        assert 429 in [reply.status for reply in replies]
        for i, reply in enumerate(replies):
            assert reply.headers["x-request-id"] == f"busy-{i}"
            assert "total;dur=" in reply.headers["server-timing"]
        with running.connect() as connection, connection.makefile("rb") as stream:
            lines = b"Content-Length: 9", b"X-Request-Id: late"
            connection.sendall(head("POST", "/v1/classify", *lines))
            reply = read_reply(stream)
        assert_problem(reply, 408, "body_too_slow")
        assert reply.headers["x-request-id"] == "late"
        assert "total;dur=" in reply.headers["server-timing"]
        line_of(running, "late")


ODD_NAMES = [
    b"",
    b"x" * 65,
    b"x" * 20000,
    b"two words",
    b'quo"te',
    b"semi;colon",
    b"a/b",
    b"\xff\xfe",
    "ü".encode(),
    b"tab\there",
    b"esc\x1b[31m",
    b"folded\r\n line",
    b"bare\rreturn",
    b"%0d%0aSet-Cookie:x",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_replaced(server, name):
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head("GET", "/nothing", b"X-Request-Id: " + name, b"Connection: close"))
        reply = read_reply(stream)
        assert not stream.read()
    if reply.status == 400 and b"\r" in name:
        return  # not even HTTP
    assert_problem(reply, 404, "not_found")
    assert re.fullmatch(r"req-[0-9a-f]{16}", reply.headers["x-request-id"])
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("value", ["x" * 30000, TRACEPARENT + "-", "00-" + "0" * 32, "ü", '"}{'])
def test_odd_traces_are_left_out(server, value):
    name = f"trace-{abs(hash(value))}"
    reply = server.get("/livez", {"X-Request-Id": name, "traceparent": value.encode()})
    assert reply.status == 200
    assert "trace_id" not in line_of(server, name)


def test_two_kinds_of_pictures_are_logged_with_their_bytes(server):
    for name, data in ("one", DOG), ("other", CAT):
        headers = {"X-Request-Id": name, "Content-Type": "image/*"}
        server.request("POST", "/v1/classify?labels=a,b", data, headers)
        assert line_of(server, name)["bytes_in"] == len(data)
