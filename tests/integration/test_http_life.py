import http.client
import random
import signal
import socket
import struct
import time

import pytest

from command_line import assert_usage, environment, run
from resources import put_set, wait_until
from serving import (
    BOUNDARY,
    CAT,
    DOG,
    Server,
    assert_problem,
    at_once,
    form,
    read_reply,
    serving,
    slow_labels,
)


def post_head(length, *more):
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    lines = ["POST /v1/classify HTTP/1.1", "Host: test", kind, f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def vanish(connection):
    """Closes with a reset, as a client that crashes does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# ---- Clients that go away ----


def test_64_clients_half_of_them_vanish():
    def client(i):
        choice = random.Random(i)
        statuses = []
        for turn in range(4):
            body = form(("image", choice.choice([DOG, CAT])), ("labels", f"cat,dog,thing {i}"))
            if i % 2 == 0:
                with server.connect() as connection, connection.makefile("rb") as stream:
                    connection.sendall(post_head(len(body)) + body)
                    statuses.append(read_reply(stream).status)
                continue
            connection = server.connect()
            sent = (post_head(len(body)) + body)[: choice.randrange(1, len(body))]
            if turn == 3:  # all of it, and away while the work is under way
                sent = post_head(len(body)) + body
            connection.sendall(sent)
            time.sleep(choice.random() / 50)
            if choice.random() < 0.5:
                vanish(connection)
            else:
                connection.close()
        return statuses

    with serving() as server:
        for i, statuses in enumerate(at_once(64, client)):
            assert statuses == ([] if i % 2 else [200] * 4)
        assert server.post_raw(DOG, labels="cat,dog").status == 200


def test_client_that_leaves_while_its_work_waits():
    """Its work ends at its deadline, minutes before it is done, and leaves its place in the line
    and among the connections."""
    limits = ["--max-queue-rows", 6, "--max-connections", 7, "--max-label-texts", 10**6]
    with serving("--threads", 1, *limits) as server:
        sentences = [("sentence", f"sentence {i} {{}}") for i in range(400)]
        for i in range(6):
            labels = ("labels", ",".join(slow_labels(i, 2000)))
            body = form(("image", DOG), labels, ("timeout_ms", "500"), *sentences)
            connection = server.connect()
            connection.sendall(post_head(len(body)) + body)
            time.sleep(0.05)  # a reset may overtake what was sent
            vanish(connection)
        deadline = time.monotonic() + 30
        replies = at_once(6, lambda i: server.post_raw(DOG, timeout_ms=30000))
        assert [reply.status for reply in replies] == [200] * 6
        assert time.monotonic() < deadline


def test_work_of_clients_that_are_gone_is_given_up():
    """Long before its deadline, whether it has begun or still waits."""
    limits = ["--max-queue-rows", 6, "--max-label-texts", 10**6, "--request-timeout-ms", 110000]
    with serving("--threads", 1, *limits) as server:
        sentences = [("sentence", f"sentence {i} {{}}") for i in range(400)]
        for i in range(6):
            labels = ("labels", ",".join(slow_labels(i, 2000)))
            body = form(("image", DOG), labels, *sentences)
            connection = server.connect()
            connection.sendall(post_head(len(body)) + body)
            time.sleep(0.05)  # a reset may overtake what was sent
            vanish(connection)
        deadline = time.monotonic() + 60
        while server.post_raw(DOG).status == 429:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert server.post_raw(DOG).status == 200
        assert time.monotonic() < deadline


# ---- Pictures that are held back ----


@pytest.mark.parametrize("threads", [1, 2])
def test_pictures_held_back_are_answered(threads):
    """Whether others come, and fill a batch, or not."""
    options = ["--batch-delay-us", 50000, "--max-batch-rows", 3]
    with serving("--threads", threads, *options) as server:
        for clients in 1, 2, 3, 4, 7:
            replies = at_once(clients, lambda i: server.post_raw(DOG, labels="cat,dog"))
            assert [reply.status for reply in replies] == [200] * clients


def test_a_full_batch_is_not_held_back():
    """The delay is longer than the time-out."""
    options = ["--batch-delay-us", 10000000, "--request-timeout-ms", 8000]
    with serving("--threads", 2, *options, "--max-batch-rows", 4) as server:
        replies = at_once(4, lambda i: server.post_raw(DOG, labels="cat,dog"))
        assert [reply.status for reply in replies] == [200] * 4


def test_long_work_does_not_hold_back_longer():
    """One worker is busy when the delay ends, and the other asleep, whichever prepared it."""
    options = ["--batch-delay-us", 300000, "--max-label-texts", 10**6]
    sentences = [("sentence", f"sentence {i} {{}}") for i in range(400)]
    with serving("--threads", 2, *options) as server:
        for i in range(6):
            labels = ("labels", ",".join(slow_labels(i, 2000)))
            body = form(("image", DOG), labels, *sentences)

            def post(which):
                if not which:
                    return server.post_raw(DOG, labels="cat,dog", timeout_ms=5000)
                time.sleep(0.1)  # the picture is held back by now
                connection = server.connect()
                connection.sendall(post_head(len(body)) + body)
                return connection

            reply, connection = at_once(2, post)
            assert reply.status == 200
            vanish(connection)


# ---- The end ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_stops(number):
    server = Server()
    server.get("/livez")
    with server.connect():
        server.signal(number)
        assert server.wait() == 0
    with pytest.raises(OSError):
        server.connect()


def test_work_in_flight_is_answered():
    server = Server("--threads", 1)
    bodies = [form(("image", DOG), ("labels", ",".join(slow_labels(i, 300)))) for i in range(5)]
    connections = [server.connect() for _ in range(5)]
    for connection, body in zip(connections[:4], bodies):
        connection.sendall(post_head(len(body)) + body)
    # The last one is still sending.
    connections[4].sendall(post_head(len(bodies[4]), "Expect: 100-continue"))
    streams = [connection.makefile("rb") for connection in connections]
    assert read_reply(streams[4]).status == 100
    server.signal()
    connections[4].sendall(bodies[4])
    for stream in streams:
        reply = read_reply(stream)
        assert reply.status == 200
        assert reply.headers["connection"] == "close"
        assert len(reply.json()["results"]) == 1
        assert read_reply(stream) is None
    assert server.wait() == 0


def test_readiness_ends_at_once():
    server = Server("--threads", 1)
    body = form(("image", DOG), ("labels", ",".join(slow_labels(0, 1500))))
    busy, probe, late = server.connect(), server.connect(), server.connect()
    streams = [connection.makefile("rb") for connection in (busy, probe, late)]
    for connection, stream in (probe, streams[1]), (late, streams[2]):
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n")
        assert read_reply(stream).status == 200
    busy.sendall(post_head(len(body)) + body)
    time.sleep(0.05)
    server.signal()
    time.sleep(0.05)
    probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n")
    reply = read_reply(streams[1])
    assert_problem(reply, 503, "draining")
    assert reply.headers["retry-after"] == "1"
    late.sendall(post_head(len(body)) + body)
    assert_problem(read_reply(streams[2]), 503, "draining")
    with pytest.raises(OSError):
        server.connect()
    assert read_reply(streams[0]).status == 200
    assert server.wait() == 0


def test_drain_timeout():
    server = Server("--threads", 1, "--drain-timeout-ms", 50)
    bodies = [form(("image", DOG), ("labels", ",".join(slow_labels(i, 1500)))) for i in range(3)]
    connections = [server.connect() for _ in range(4)]
    streams = [connection.makefile("rb") for connection in connections]
    for connection, body in zip(connections, bodies):
        connection.sendall(post_head(len(body)) + body)
    connections[3].sendall(post_head(1000) + b"half a")
    time.sleep(0.05)
    server.signal()
    statuses = [read_reply(stream).status for stream in streams[:3]]
    assert statuses[2] == 503 and set(statuses) <= {200, 503}
    assert read_reply(streams[3]) is None
    assert server.wait() == 0


def test_long_compile_ends_with_its_request():
    """Some minutes of labels: the server ends long before they are compiled."""
    server = Server("--threads", 1, "--drain-timeout-ms", 50, "--max-label-texts", 10**6)
    sentences = [("sentence", f"sentence {i} {{}}") for i in range(400)]
    body = form(("image", DOG), ("labels", ",".join(slow_labels(0, 2000))), *sentences)
    with server.connect() as connection:
        connection.sendall(post_head(len(body)) + body)
        time.sleep(0.3)
        server.signal()
        assert read_reply(connection.makefile("rb")).status == 503
        assert server.process.wait(20) == 0
    assert server.wait() == 0


def test_second_signal_ends_at_once():
    server = Server("--threads", 1)
    body = form(("image", DOG), ("labels", ",".join(slow_labels(0, 2000))))
    with server.connect() as connection:
        connection.sendall(post_head(len(body)) + body)
        time.sleep(0.05)
        server.signal(signal.SIGTERM)
        time.sleep(0.05)
        server.signal(signal.SIGINT)
        assert server.wait() == 1


# ---- The delay before the end ----


def test_drain_delay():
    """Not ready any more, and still serving until the delay is over."""
    server = Server("--drain-delay-ms", 1500)
    assert server.get("/readyz").json() == server.get("/health").json() == {"status": "ready"}
    server.signal()
    wait_until(lambda: server.get("/readyz").status == 503, "it stays ready")
    statuses = []
    while True:
        try:
            reply = server.get("/readyz")
            assert_problem(reply, 503, "draining")
            assert reply.headers["retry-after"] == "1"
            assert_problem(server.get("/health"), 503, "draining")
            assert server.get("/livez").status == 200
            statuses.append(server.post_raw(DOG, labels="cat,dog").status)
            statuses.append(put_set(server, "a", ["cat", "dog"]).status)
        except (OSError, http.client.HTTPException):
            break
    assert statuses[:3] == [200, 201, 200]
    assert server.wait() == 0


def test_work_in_flight_when_the_delay_is_over():
    server = Server("--threads", 1, "--drain-delay-ms", 200)
    body = form(("image", DOG), ("labels", ",".join(slow_labels(0, 1500))))
    with server.connect() as connection, connection.makefile("rb") as stream:
        server.signal()
        wait_until(lambda: server.get("/readyz").status == 503, "it stays ready")
        connection.sendall(post_head(len(body)) + body)
        assert read_reply(stream).status == 200
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_in_the_delay(number):
    server = Server("--drain-delay-ms", 86400000)
    server.signal()
    wait_until(lambda: server.get("/readyz").status == 503, "it stays ready")
    assert server.post_raw(DOG, labels="cat,dog").status == 200
    server.signal(number)
    assert server.wait() == 1


def test_stopped_as_soon_as_it_listens():
    for _ in range(5):
        server = Server()
        server.signal()
        assert server.wait() == 0


def test_hang_up_without_a_pool_folder():
    with serving() as server:
        for _ in range(3):
            server.signal(signal.SIGHUP)
            assert server.post_raw(DOG, labels="cat,dog").status == 200
        assert server.get("/readyz").status == 200


# ---- The start ----


def test_help_names_every_option():
    done = run("serve", "--help")
    assert done.returncode == 0
    text = done.stdout.decode()
    assert "--max-body-bytes N" in text
    assert "ATTRIPROMPT_MAX_BODY_BYTES" in text
    assert "default 33554432, from 1 to 2147483648" in text


@pytest.mark.parametrize(
    "options, part",
    [
        (["--port", "65536"], '--port: "65536" is not a whole number from 0 to 65535'),
        (["--port", "http"], '--port: "http"'),
        (["--port=-1"], '--port: "-1"'),
        (["--port"], "--port needs a value"),
        (["--model="], "--model: must not be empty"),
        (["--log-level", "loud"], '--log-level: "loud"'),
        (["--colour", "red"], "unknown option --colour"),
        (["here"], 'unexpected argument "here"'),
        (["--max-buffered-bytes", "5"], "--max-buffered-bytes (5) must be at least"),
    ],
)
def test_wrong_options(options, part):
    assert_usage(run("serve", *options), "serve", part)


def test_environment():
    done = run("serve", env=environment(ATTRIPROMPT_PORT="x"))
    assert_usage(done, "serve", 'ATTRIPROMPT_PORT: "x"')
    ten = environment(ATTRIPROMPT_MAX_BODY_BYTES="10")
    with serving(env=ten) as server:
        assert server.post_raw(b"x" * 11).status == 413
    with serving("--max-body-bytes", 11, env=ten) as server:
        assert server.post_raw(b"x" * 11).status == 415


def test_port_in_use():
    with serving() as server:
        done = run("serve", "--port", str(server.port))
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1 port {server.port}" in done.stderr.decode()


def test_no_model(tmp_path):
    done = run("serve", "--port", "0", "--model", tmp_path)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr.decode()
    assert done.stdout == b""


def test_short_option_for_help():
    for words in (), ("serve",), ("classify",):
        short, long = run(*words, "-h"), run(*words, "--help")
        assert (short.returncode, short.stderr) == (0, b"")
        assert short.stdout == long.stdout != b""


def test_commands():
    assert run().returncode == 2
    assert b"serve" in run("--help").stdout
    done = run("sevre")
    assert done.returncode == 2
    assert 'unknown command "sevre"' in done.stderr.decode()
