"""Probes of a server whose worker hangs, and of one whose worker only takes long."""

import json
import re
import threading
import time

from command_line import BINARY, environment
from hostile import SANITIZED, whole_request
from metrics import read_metrics
from png import png_of_one_colour
from resources import wait_until
from serving import DOG, Server, assert_problem, serving

HOOKS = BINARY + "-hooks"
HOLD = "ATTRIPROMPT_TEST_HOLD_FILE"
LIMIT_S = 3
LATE_S = 20  # on a machine that is busy


def test_only_the_test_build_has_the_hook():
    with open(BINARY, "rb") as program, open(HOOKS, "rb") as hooks:
        assert HOLD.encode() not in program.read()
        assert HOLD.encode() in hooks.read()


def silence(reply, status=503):
    """The worker that is named, and for how many seconds."""
    assert_problem(reply, status, "worker_stalled")
    text = r"worker (\d+) has not shown a sign of life for ([\d.]+) s"
    found = re.fullmatch(text, reply.json()["detail"])
    assert found, reply.json()
    return int(found[1]), float(found[2])


def test_a_worker_that_hangs(tmp_path):
    """First the server is not ready, then not alive; and all is well again when the worker is."""
    hold = tmp_path / "hold"
    options = "--threads", 2, "--worker-stall-ms", 1000 * LIMIT_S
    replies = []
    with serving(*options, binary=HOOKS, env=environment(**{HOLD: str(hold)})) as server:
        assert server.post_raw(DOG, labels="cat,dog").status == 200
        assert server.get("/readyz").status == server.get("/livez").status == 200
        hold.touch()
        client = threading.Thread(
            target=lambda: replies.append(server.post_raw(DOG, labels="cat,dog"))
        )
        client.start()
        states = []  # in the order in which they were seen

        def look():
            ready, live = server.get("/readyz"), server.get("/livez")
            if not states or states[-1] != (ready.status, live.status):
                states.append((ready.status, live.status))
            return live.status == 503 and (ready, live)

        started = time.monotonic()
        ready, live = wait_until(look, "nobody notices")
        took = time.monotonic() - started
        assert states == [(200, 200), (503, 200), (503, 503)]
        assert took < LIMIT_S + LATE_S
        (first, _), (second, seconds) = silence(ready), silence(live)
        assert first == second and first in (0, 1)
        assert LIMIT_S <= seconds < LIMIT_S + LATE_S
        assert silence(server.get("/health"))[0] == first
        assert live.headers["retry-after"] == "1"
        # None of these waits for a worker.
        assert server.get("/version").status == 200
        assert server.get("/v1/pools").status == 200
        assert read_metrics(server).value("process_open_fds") > 0
        assert not replies
        hold.unlink()
        client.join()
        assert replies[0].status == 200
        wait_until(lambda: server.get("/livez").status == 200, "it stays dead")
        assert server.get("/readyz").status == 200


def test_two_signals_end_a_server_whose_worker_hangs(tmp_path):
    hold = tmp_path / "hold"
    server = Server(binary=HOOKS, env=environment(**{HOLD: str(hold)}))
    hold.touch()
    with server.connect() as connection:
        connection.sendall(whole_request())
        assert server.get("/livez").status == 200
        server.signal()
        wait_until(lambda: "finishing" in server.read_errors(), "it does not drain")
        server.signal()
        assert server.wait() == 1


def test_many_large_pictures_are_no_stall():
    """Each shows a sign of life; all of them together take longer than the limit."""
    pictures, side = (6, 1000) if SANITIZED else (24, 3000)
    picture = png_of_one_colour(side)
    options = "--threads", 1, "--max-batch-rows", 1
    with serving(*options) as server:
        started = time.monotonic()
        assert server.post_form(("image", picture), ("labels", "a,b")).status == 200
        one_ms = 1000 * (time.monotonic() - started)
    limit_ms = max(100, int(one_ms * pictures / 4))
    statuses = []
    with serving(*options, "--worker-stall-ms", limit_ms) as server:
        done = threading.Event()

        def post():
            statuses.append(server.post_form(*[("image", picture)] * pictures, ("labels", "a,b")))
            done.set()

        started = time.monotonic()
        client = threading.Thread(target=post)
        client.start()
        while not done.wait(0.01):
            assert server.get("/livez").status == 200
        took_ms = 1000 * (time.monotonic() - started)
        client.join()
    assert statuses[0].status == 200
    assert took_ms > limit_ms


def long_request():
    """Many passes through the text tower, of labels that nobody else has."""
    labels = [f"thing {i}" for i in range(20 if SANITIZED else 800)]
    sentences = [f"{i} {{}}" for i in range(16)]  # each is a pass at least
    return json.dumps({"images": [{"data": ""}], "labels": labels, "sentence": sentences})


def test_long_work_is_no_stall():
    """A worker that goes from pass to pass shows signs of life, for longer than the limit."""
    kind = {"Content-Type": "application/json"}
    with serving() as server:
        started = time.monotonic()
        assert server.request("POST", "/v1/classify", long_request(), kind).status == 422
        took_ms = 1000 * (time.monotonic() - started)
    with serving("--worker-stall-ms", max(100, int(took_ms / 2))) as server:
        done = threading.Event()

        def post():
            server.request("POST", "/v1/classify", long_request(), kind)
            done.set()

        client = threading.Thread(target=post)
        client.start()
        while not done.wait(0.01):
            assert server.get("/livez").status == 200
        client.join()
