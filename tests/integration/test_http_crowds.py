"""Many connections at once: slow ones, idle ones, greedy ones, and such that vanish."""

import contextlib
import socket
import time

import pytest

from command_line import LIMIT_S
from hostile import (
    CONNECTION_BYTES,
    FEWER,
    MIB,
    SANITIZED,
    answer_of,
    bounded_memory,
    drip,
    file_limit,
    head,
    memory_bytes,
    open_files,
    picture_head,
    pour,
    served_meanwhile,
    status_of,
    vanish,
    whole_request,
)
from serving import CAT, DOG, at_once, form, read_reply, serving

SPARE_FILES = 200  # of a process, beside its connections
MORE_BYTES = 8 * 1024  # what is kept of a connection and a request beside CONNECTION_BYTES


def connect_all(server, count, stack):
    return [stack.enter_context(server.connect()) for _ in range(count)]


def wait_for(condition, what):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# ---- Slow ----

SLOW = 200 // (2 if SANITIZED else 1)


@pytest.mark.parametrize(
    "text, statuses",
    [
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: test\r\nX-Slow: x", {None}, id="head"),
        pytest.param(b"G", {400, None}, id="method"),
        pytest.param(picture_head(b"Content-Length: 90000") + b"x", {408}, id="body"),
        # 400 if, on a slow machine, there is a byte to read whenever the server looks
        pytest.param(picture_head(b"Transfer-Encoding: chunked") + b"1;x", {400, 408}, id="chunk"),
    ],
)
def test_bytes_one_by_one(text, statuses):
    """All of what is known goes at once, but for the last byte, which comes again and again."""
    options = ["--connection-timeout-s", FEWER, "--body-timeout-ms", 500 * FEWER]
    with serving(*options) as server, contextlib.ExitStack() as stack:
        connections = connect_all(server, SLOW, stack)
        for connection in connections:
            connection.sendall(text[:-1])
        with bounded_memory(server, SLOW * (CONNECTION_BYTES + MORE_BYTES)):
            answers = served_meanwhile(server, lambda: drip(connections, text[-1:], 0.05))
        assert {status_of(answer) for answer in answers} <= statuses


def test_whole_heads_byte_by_byte():
    options = ["--connection-timeout-s", FEWER, "--body-timeout-ms", 500 * FEWER]
    text = picture_head(b"X-Slow: " + b"x" * 2000)
    with serving(*options) as server, contextlib.ExitStack() as stack:
        connections = connect_all(server, SLOW, stack)
        answers = served_meanwhile(server, lambda: drip(connections, text, 0.05))
        assert {status_of(answer) for answer in answers} == {None}


# ---- Idle ----

IDLE = 5000 // FEWER
IDLE_S = 20 if SANITIZED else 8  # in which all of them must have been made


def test_idle_connections():
    """Every other one was used once; the library touches all memory of such a one."""
    options = ["--max-connections", IDLE + 1000, "--connection-timeout-s", IDLE_S]
    with file_limit(IDLE + 1000 + SPARE_FILES), contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(*options))
        with bounded_memory(server, IDLE * (CONNECTION_BYTES // 2 + MORE_BYTES)):
            connections = connect_all(server, IDLE, stack)
            for connection in connections[::2]:
                connection.sendall(head("GET", "/livez"))
            for connection in connections[::2]:
                assert connection.recv(16).startswith(b"HTTP/1.1 200")
            wait_for(lambda: open_files(server) > IDLE, "not all connections were taken")
            served = 0
            while open_files(server) > IDLE // 2:
                assert server.post_raw(DOG, labels="cat,dog").status == 200
                served += 1
            assert served
            for connection in connections:
                while connection.recv(4096):
                    pass
        wait_for(lambda: open_files(server) < SPARE_FILES, "connections are still open")
        assert server.post_raw(DOG).status == 200


def test_more_connections_than_are_allowed():
    """The surplus waits, is served when others leave, and does no harm to those that are in."""
    with serving() as server, contextlib.ExitStack() as stack:
        inside = connect_all(server, 512, stack)
        wait_for(lambda: open_files(server) > 512, "not all connections were taken")
        outside = connect_all(server, 600, stack)
        for connection in outside + inside:
            connection.sendall(head("GET", "/livez", b"Connection: close"))
        for connection in inside + outside:
            assert status_of(answer_of(connection)) == 200
        assert server.post_raw(DOG).status == 200


def test_no_file_descriptors_left():
    """Those that are in are served, and the others when there is room again."""
    with file_limit(64), serving("--connection-timeout-s", 60) as server:
        with file_limit(1024), contextlib.ExitStack() as stack:
            connections = connect_all(server, 200, stack)
            for connection in connections:
                connection.sendall(whole_request(b"Connection: close"))
            for connection in connections:
                assert status_of(answer_of(connection)) == 200
        assert server.post_raw(DOG).status == 200


# ---- Greedy ----


def test_50_requests_in_one_write():
    kinds = [
        (whole_request, 200),
        (lambda line: head("GET", "/livez", line), 200),
        (lambda line: head("POST", "/nothing", b"Content-Length: 3", line) + b"abc", 404),
        (lambda line: picture_head(b"Transfer-Encoding: chunked", line) + chunked(CAT), 200),
        (lambda line: picture_head(b"Content-Length: 3", line) + b"bad", 415),
    ]
    with serving() as server, server.connect() as connection:
        wanted = [(kinds[i % 5][1], f"n-{i}") for i in range(50)]
        texts = [kinds[i % 5][0](b"X-Request-Id: n-%d" % i) for i in range(50)]
        connection.sendall(b"".join(texts))
        with connection.makefile("rb") as stream:
            replies = [read_reply(stream) for _ in range(50)]
    assert [(reply.status, reply.headers["x-request-id"]) for reply in replies] == wanted


def chunked(data):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


LONG_ANSWER = "/v1/classify?top_k=300&labels=" + ",".join(f"thing-{i}" for i in range(300))


@pytest.mark.parametrize(
    "request_text",
    [
        pytest.param(head("GET", "/livez"), id="probes"),
        pytest.param(head("GET", "/nothing" + "x" * 4000), id="problems"),
        pytest.param(whole_request(path=LONG_ANSWER), id="pictures"),
    ],
)
def test_client_that_never_reads(request_text):
    """It is dropped when its answers have been waiting for too long, or it stops being read."""

    def send():
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            return pour(connection, request_text * max(1, 65536 // len(request_text)), 10**9)

    with serving("--body-timeout-ms", 500 * FEWER, "--connection-timeout-s", FEWER) as server:
        with bounded_memory(server, CONNECTION_BYTES + MORE_BYTES):
            assert served_meanwhile(server, send) < 10**9


# ---- Such that vanish ----

STAGES = 8


def leave_at(server, stage, number):
    """One client that goes no further than this stage of a request, and is gone with a reset."""
    body = form(("image", DOG), ("labels", f"cat,dog,thing {number}"))
    first = head(
        "POST",
        "/v1/classify",
        b"Content-Type: multipart/form-data; boundary=a-boundary-of-the-tests",
        b"Content-Length: %d" % len(body),
        *([b"Expect: 100-continue"] if stage == 3 else []),
    )
    connection = server.connect()
    whole = first + body
    if stage == 1:
        connection.sendall(whole[: len(first) // 2])
    elif stage == 2:
        connection.sendall(first)
    elif stage == 3:
        connection.sendall(first)
        connection.recv(10)
    elif stage == 4:
        connection.sendall(whole[: len(first) + len(body) // 2])
    elif stage >= 5:
        connection.sendall(whole)
    if stage == 6:
        time.sleep(0.003)  # the work has begun
    elif stage == 7:
        connection.recv(10)  # the answer comes
    vanish(connection)


def test_200_clients_that_vanish():
    options = ["--threads", 1, "--max-queue-rows", 16]
    with serving(*options) as server:

        def round_of_200(first):
            for number in range(first, first + 200):
                leave_at(server, number % STAGES, number)
            wait_for(lambda: open_files(server) < 30, "connections are still open")

        round_of_200(0)
        before = memory_bytes(server, "VmRSS")
        for i in range(1, 4):
            round_of_200(200 * i)
        grown = memory_bytes(server, "VmRSS") - before
        assert grown < (256 if SANITIZED else 8) * MIB
        # Nothing is left in the queue: all of it can be had.
        wait_for(lambda: server.post_raw(DOG).status == 200, "the queue stays full")
        replies = at_once(16, lambda _: server.post_raw(DOG, labels="cat,dog"))
        assert [reply.status for reply in replies] == [200] * 16
