"""GET /metrics: what is there, and whether it adds up to what clients saw."""

import collections
import json
import random
import re
import shutil
import subprocess
import time
from urllib.parse import quote

import pytest

from hostile import FEWER, SANITIZED, head, vanish, whole_request
from metrics import read_metrics
from pool_files import emoji_pool
from resources import wait_until
from serving import CAT, DOG, at_once, read_reply, serving, slow_labels

REQUESTS = 10000 // (10 if SANITIZED else 1)
CLIENTS = 8
PREFIX = "attriprompt_"
FAMILIES = {
    "http_requests_total": "counter",
    "http_request_duration_seconds": "histogram",
    "request_stage_duration_seconds": "histogram",
    "rejected_total": "counter",
    "cancelled_total": "counter",
    "connections_ended_total": "counter",
    "images_total": "counter",
    "pool_load_total": "counter",
    "distinct_compositions": "gauge",
    "queue_rows": "gauge",
    "batch_rows": "histogram",
    "batches_total": "counter",
    "composition_cache_hits_total": "counter",
    "composition_cache_misses_total": "counter",
    "composition_cache_evictions_total": "counter",
    "composition_cache_bytes": "gauge",
    "label_cache_hits_total": "counter",
    "label_cache_misses_total": "counter",
    "label_cache_evictions_total": "counter",
    "label_cache_bytes": "gauge",
    "label_cache_entries": "gauge",
    "pools": "gauge",
    "pool_info": "gauge",
    "access_log_dropped_total": "counter",
    "cpu_limit_cores": "gauge",
    "build_info": "gauge",
}
PROCESS = {
    "process_cpu_seconds_total": "counter",
    "process_resident_memory_bytes": "gauge",
    "process_open_fds": "gauge",
    "process_start_time_seconds": "gauge",
}
STAGES = "queue", "decode", "image", "retrieve", "text"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pool = emoji_pool(tmp_path_factory.mktemp("pool") / "groups.safetensors")
    with serving("--pool", pool, "--max-body-bytes", 200000) as running:
        yield running


# ---- What is there ----


def test_every_family(server):
    assert server.post_raw(DOG).status == 200
    read = read_metrics(server)
    assert read.types == {**{PREFIX + name: kind for name, kind in FAMILIES.items()}, **PROCESS}
    assert set(read.helps) == set(read.types)
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name, _ in read.series}
    assert shown <= set(read.types)


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool")
def test_promtool_accepts_it(server):
    server.post_raw(DOG)
    text = server.get("/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_gauges_of_the_process(server):
    read = read_metrics(server)
    version = server.get("/version").json()
    labels = {name: version[name] for name in ("version", "model", "backend")}
    assert read.value(PREFIX + "build_info", **labels) == 1
    assert read.value(PREFIX + "pool_info", pool="groups", version="1", default="true") == 1
    assert read.value(PREFIX + "pools") == 1
    assert read.value(PREFIX + "pool_load_total", result="ok") == 1
    assert 1 <= read.value(PREFIX + "cpu_limit_cores") <= 64
    assert read.value("process_resident_memory_bytes") > 1 << 20
    assert read.value("process_open_fds") > 3
    assert abs(read.value("process_start_time_seconds") - time.time()) < 600
    assert read.value("process_cpu_seconds_total") > 0


def test_a_classification_is_seen(server):
    before = read_metrics(server)
    for picture in DOG, CAT, CAT[:400]:
        server.post_raw(picture, content_type="image/*", labels="metric,dog")
    for nothing in b"RIFF....WEBPVP8 ", b"GIF89a", b"what":
        server.post_raw(nothing, content_type="image/webp", labels="metric,dog")
    after = read_metrics(server)

    def grown(name, **labels):
        return after.value(PREFIX + name, **labels) - before.value(PREFIX + name, **labels)

    assert grown("images_total", format="png", result="ok") == 1
    assert grown("images_total", format="jpeg", result="ok") == 1
    assert grown("images_total", format="jpeg", result="damaged") == 1
    assert grown("images_total", format="webp", result="damaged") == 1
    assert grown("images_total", format="unknown", result="unsupported") == 2
    for stage in STAGES:
        assert grown("request_stage_duration_seconds_count", stage=stage) == 2
    assert grown("request_stage_duration_seconds_sum", stage="image") > 0
    assert grown("batch_rows_sum") == 2
    assert sum(grown("batches_total", reason=r) for r in ("full", "delay", "greedy")) == 2
    assert grown("label_cache_misses_total") == 1
    assert grown("label_cache_hits_total") == 5
    assert grown("composition_cache_misses_total") >= 1
    assert after.value(PREFIX + "composition_cache_bytes") > 0
    assert after.value(PREFIX + "distinct_compositions") >= 0.9
    assert after.value(PREFIX + "queue_rows") == 0


def test_pools_that_fail_and_pools_beyond_those_that_are_shown(tmp_path):
    file = emoji_pool(tmp_path / "one.safetensors").read_bytes()
    with serving("--max-pools", 50) as running:
        for i in range(40):
            running.request("PUT", f"/v1/pools/pool-{i:02}", file)
        assert running.request("PUT", "/v1/pools/bad", b"no pool").status == 422
        read = read_metrics(running)
        assert read.value(PREFIX + "pools") == 40
        assert read.value(PREFIX + "pool_load_total", result="ok") == 40
        assert read.value(PREFIX + "pool_load_total", result="invalid") == 1
        named = [dict(labels)["pool"] for name, labels in read.series if name.endswith("pool_info")]
        assert named == [f"pool-{i:02}" for i in range(32)]


# ---- Whether it adds up ----


def raw(server, data):
    """The status of what is answered to these bytes on a connection of their own."""
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(data)
        return read_reply(stream).status


def cut_head(server):
    """Ends the connection in the middle of a head. By a reset: an end that comes together with the
    bytes before it is noticed only at the connection's time-out."""
    with server.connect() as connection:
        connection.sendall(b"GET /livez HTT")
        vanish(connection)


def cut_body(server):
    """Ends it, by a reset, in the middle of a body, once the server has the head."""
    lines = b"Content-Length: 1000", b"Expect: 100-continue"
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head("PUT", "/v1/label-sets/cut", *lines))
        assert read_reply(stream).status == 100
        connection.sendall(b"x" * 10)
        vanish(connection)


class Client:
    """Goes on and on over one connection, and counts what it saw by status."""

    CHEAP = [
        (b"GET", "/livez", b"", 200),
        (b"HEAD", "/version", b"", 200),
        (b"GET", "/nothing-{n}", b"", 404),
        (b"BREW{n}", "/livez", b"", 405),
        (b"GET", "/v1/classify", b"", 405),
        (b"POST", "/v1/classify", b"{", 400),
        (b"POST", "/v1/classify", b"text", 415),
        (b"PUT", "/v1/label-sets/bad+name-{n}", b"{}", 422),
        (b"GET", "/v1/pools/unknown-{n}", b"", 404),
    ]
    KINDS = {200: b"", 400: b"application/json", 415: b"text/plain", 422: b"application/json"}

    def __init__(self, server, number):
        self.server = server
        self.random = random.Random(number)
        self.seen = collections.Counter()
        self.headless = 0  # connections without a whole head
        self.connection = server.connect()
        self.stream = self.connection.makefile("rb")

    def go(self, count):
        for n in range(count):
            draw = self.random.random()
            if draw < 0.02:
                self.vanish_somewhere()
            elif draw < 0.03:
                self.on_its_own()
            elif draw < 0.05:
                self.classify()
            else:
                self.cheap(n)
        self.stream.close()
        self.connection.close()

    def cheap(self, n):
        method, path, body, wanted = self.random.choice(self.CHEAP)
        method = method.replace(b"{n}", b"%d" % n)
        lines = [b"Content-Length: %d" % len(body)]
        if self.KINDS.get(wanted):
            lines.append(b"Content-Type: " + self.KINDS[wanted])
        self.connection.sendall(head(method.decode(), path.replace("{n}", f"{n}"), *lines) + body)
        if method == b"HEAD":
            while self.stream.readline().strip():
                pass
            self.seen[200] += 1
            return
        status = read_reply(self.stream).status
        assert status == wanted or (status, method) == (429, b"POST")
        self.seen[status] += 1

    def classify(self):
        self.connection.sendall(whole_request(path="/v1/classify?labels=cat,dog"))
        status = read_reply(self.stream).status
        assert status in (200, 429)
        self.seen[status] += 1

    def on_its_own(self):
        """What ends the connection."""
        data, has_head = self.random.choice(
            [
                (head("POST", "/v1/classify", b"Content-Length: 200000000"), True),
                (head("GET", "/livez", b"Host: again"), True),
                (head("POST", "/v1/classify", b"Transfer-Encoding: chunked") + b"none\r\n", True),
                (head("POST", "/v1/classify", b"Transfer-Encoding: gzip"), True),
                (head("GET", "/livez", b"Content-Length: many"), False),
                (b"GET /livez HTTP/7.0\r\n\r\n", False),
                (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Much: " + b"x" * 70000, False),
                (b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n", False),
            ]
        )
        self.seen[raw(self.server, data)] += 1
        self.headless += not has_head

    def vanish_somewhere(self):
        """Half of a head makes no request."""
        if self.random.random() < 0.5:
            cut_head(self.server)
            self.headless += 1
        else:
            cut_body(self.server)
            self.seen[499] += 1


def statuses(read):
    """How many requests of each status."""
    counts = read.sums(PREFIX + "http_requests_total", "code")
    return {int(code): count for (code,), count in counts.items()}


def test_counters_add_up_to_what_clients_saw():
    with serving("--max-queue-rows", 3, "--max-body-bytes", 200000, "--threads", 1) as running:
        clients = [Client(running, number) for number in range(CLIENTS)]
        at_once(CLIENTS, lambda i: clients[i].go(REQUESTS // CLIENTS))
        seen = sum((client.seen for client in clients), collections.Counter())
        scrapes = collections.Counter()
        read = None

        def agree():
            nonlocal read
            read = read_metrics(running)
            expected = seen + scrapes
            scrapes[200] += 1  # each is counted when it is over
            return statuses(read) == dict(expected)

        try:
            wait_until(agree, "counters and clients disagree")
        except AssertionError:
            assert statuses(read) == dict(seen)
            raise
        assert sum(seen.values()) >= 0.95 * REQUESTS
        rejections = read.sums(PREFIX + "rejected_total", "reason")
        rejected = {reason: count for (reason,), count in rejections.items()}
        assert rejected["incomplete"] == seen[499]
        assert rejected["queue_full"] == seen[429]
        assert rejected["body_too_large"] == seen[413]
        assert rejected["head_too_large"] == seen[414] + seen[431]
        headless = sum(client.headless for client in clients)
        ended = PREFIX + "connections_ended_total"
        wait_until(
            lambda: read_metrics(running).value(ended, requests="none") == headless,
            "not as many connections without a request",
        )
        paths = read.sums(PREFIX + "http_requests_total", "route")
        assert paths[("other",)] >= seen[405]
        durations = read.sums(PREFIX + "http_request_duration_seconds_count")[()]
        assert 0 < durations <= sum(statuses(read).values())
        assert read.value(PREFIX + "images_total", format="png", result="ok") > 0


def test_refusals_of_a_busy_server():
    options = "--threads", 1, "--max-queue-rows", 1, "--max-buffered-bytes", 40000
    with serving(*options, "--max-body-bytes", 40000) as running:

        def post(i):
            labels = json.dumps({"images": [{"data": ""}], "labels": slow_labels(i)})
            kind = {"Content-Type": "application/json"}
            return running.request("POST", "/v1/classify", labels, kind).status

        seen = collections.Counter(at_once(8, post))
        assert seen[429] > 0
        read = read_metrics(running)
        rejected = read.sums(PREFIX + "rejected_total", "reason")
        assert rejected[("queue_full",)] + rejected[("memory_full",)] == seen[429]


def test_what_is_given_up_is_counted():
    with serving("--body-timeout-ms", 200 * FEWER) as running:
        document = {"images": [{"data": ""}], "labels": slow_labels(0, 1900), "timeout_ms": 1}
        kind = {"Content-Type": "application/json"}
        assert running.request("POST", "/v1/classify", json.dumps(document), kind).status == 504
        assert raw(running, head("POST", "/v1/classify", b"Content-Length: 9")) == 408

        def counted():
            read = read_metrics(running)
            slow = read.value(PREFIX + "rejected_total", reason="body_too_slow")
            return slow == 1 and read

        read = wait_until(counted, "the slow body is not counted")
        assert read.value(PREFIX + "cancelled_total") == 1
        assert read.value(PREFIX + "rejected_total", reason="incomplete") == 0
        assert statuses(read)[504] == 1 and statuses(read)[408] == 1


# ---- Whether it stays small ----


def test_series_do_not_grow_with_what_clients_invent(server):
    def invent(seed):
        draw = random.Random(seed)
        for _ in range(40):
            word = "".join(chr(draw.randrange(33, 0x2FA1)) for _ in range(8))
            path = quote(word)
            for method, where in (
                ("GET", f"/{path}"),
                ("GET", f"/v1/pools/{path}"),
                ("GET", f"/v1/label-sets/{path}"),
                ("DELETE", f"/v1/label-sets/{path}"),
                ("GET", f"/livez?{path}={path}"),
                (f"M{draw.randrange(10**9)}", "/livez"),
                (f"M{draw.randrange(10**9)}", f"/{path}"),
            ):
                server.request(method, where)
            kind = {"Content-Type": "application/json"}
            body = json.dumps({"labels": [word]})
            server.request("PUT", f"/v1/label-sets/{seed}-{draw.randrange(3)}", body, kind)
            server.post_raw(DOG, labels=f"{word},{seed}", pool=word)

    invent(0)
    before = read_metrics(server)
    invent(1)
    after = read_metrics(server)
    assert set(after.series) == set(before.series)
    assert len(after.series) < 1000
    for name, labels in after.series:
        for label, value in labels:
            assert re.fullmatch(r"[ -~]{1,80}", value), (name, label, value)


# ---- Where there is little ----


@pytest.mark.parametrize("options", [("--access-log", "off"), ("--log-level", "warn")])
def test_without_an_access_log(options):
    with serving(*options) as running:
        assert running.get("/livez").status == 200
        read = read_metrics(running)
        assert PREFIX + "access_log_dropped_total" not in read.types
        assert statuses(read) == {200: 1}
    assert bool(running.read_messages()) == ("warn" not in options)
    assert not [line for line in running.read_log() if "request_id" in line]
