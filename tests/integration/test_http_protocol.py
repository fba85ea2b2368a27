import http.client
import json
import re
import socket
import time

import pytest

from command_line import MODEL, run
from serving import (
    BOUNDARY,
    CAT,
    DOG,
    assert_problem,
    at_once,
    form,
    read_reply,
    serving,
    slow_labels,
)

LIMIT = 200000


@pytest.fixture(scope="module")
def server():
    with serving("--max-body-bytes", LIMIT, "--body-timeout-ms", 60000) as running:
        yield running


def head(path="/v1/classify?labels=cat,dog", method="POST", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Content-Type: image/png"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# ---- Resources ----


def test_probes(server):
    for path, status in ("/livez", "live"), ("/readyz", "ready"):
        reply = server.get(path)
        assert (reply.status, reply.json()) == (200, {"status": status})
        assert reply.headers["content-type"] == "application/json"


def test_version(server):
    document = server.get("/version").json()
    told = run("--version").stdout.decode()
    assert told == f"{document['name']} {document['version']}\n"
    assert document["model"] == MODEL.name
    assert document["backend"]


def test_head_is_get_without_body(server):
    get, head_only = server.get("/readyz"), server.request("HEAD", "/readyz")
    assert head_only.status == 200
    assert head_only.body == b""
    assert head_only.headers["content-length"] == get.headers["content-length"]


def test_unknown_path(server):
    assert_problem(server.get("/nothing"), 404, "not_found", "/nothing")
    assert_problem(server.request("POST", "/v1/classify/", DOG), 404, "not_found")
    assert_problem(server.get("/%ff%22%5c%0a"), 404, "not_found")
    assert_problem(server.get("/livez%00"), 404, "not_found", "NUL")
    assert_problem(server.get("/livez%00/more"), 404, "not_found")


def test_wrong_method(server):
    reply = server.get("/v1/classify")
    assert_problem(reply, 405, "method_not_allowed", "POST")
    assert reply.headers["allow"] == "POST"
    reply = server.request("DELETE", "/livez")
    assert_problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "GET, HEAD"


# ---- Headers ----


def test_request_id(server):
    own = server.get("/livez").headers["x-request-id"]
    assert re.fullmatch(r"req-[0-9a-f]{16}", own)
    assert server.get("/livez").headers["x-request-id"] != own
    for sane in "a", "A-b_c.9", "x" * 64:
        assert server.get("/livez", {"X-Request-Id": sane}).headers["x-request-id"] == sane
    for odd in "", "a b", 'a"b', "x" * 65, "ü":
        reply = server.get("/livez", {"X-Request-Id": odd.encode("utf-8")})
        assert reply.headers["x-request-id"].startswith("req-")
    path, headers = "/v1/classify", {"X-Request-Id": "mine", "Content-Type": "image/png"}
    assert server.request("POST", path, DOG, headers).json()["id"] == "mine"
    assert_problem(server.request("POST", path, b"?", headers), 415, "image_unsupported")


def test_server_timing(server):
    assert re.fullmatch(r"total;dur=[0-9.]+", server.get("/livez").headers["server-timing"])
    timing = server.post_raw(DOG).headers["server-timing"]
    parts = [part.split(";dur=")[0] for part in timing.split(", ")]
    assert parts == ["queue", "decode", "image", "retrieve", "text", "total"]


# ---- Connections ----


def test_keep_alive(server):
    client = http.client.HTTPConnection("127.0.0.1", server.port)
    client.connect()
    used = client.sock
    for _ in range(5):
        kind = {"Content-Type": "image/png"}
        for method, path, body, status in (
            ("GET", "/livez", None, 200),
            ("POST", "/v1/classify?labels=cat,dog", DOG, 200),
            ("POST", "/nothing", DOG, 404),
            ("POST", "/v1/classify", b"bad", 415),
        ):
            client.request(method, path, body, kind)
            answer = client.getresponse()
            answer.read()
            assert answer.status == status
            assert client.sock is used
    client.close()


def test_pipelined_requests_are_answered_in_order(server):
    with server.connect() as connection, connection.makefile("rb") as stream:
        requests = b""
        for i in range(12):
            if i % 3 == 2:
                requests += head("/livez", "GET", X_Request_Id=f"n-{i}")
            else:
                picture = DOG if i % 3 else CAT
                requests += head(X_Request_Id=f"n-{i}", Content_Length=len(picture)) + picture
        connection.sendall(requests)
        replies = [read_reply(stream) for _ in range(12)]
    assert [reply.status for reply in replies] == [200] * 12
    assert [reply.headers["x-request-id"] for reply in replies] == [f"n-{i}" for i in range(12)]


def test_chunked_body(server):
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head(Transfer_Encoding="chunked"))
        for at in range(0, len(DOG), 700):
            step = DOG[at : at + 700]
            connection.sendall(b"%x\r\n%s\r\n" % (len(step), step))
        connection.sendall(b"0\r\n\r\n")
        reply = read_reply(stream)
    assert reply.status == 200
    whole = server.post_raw(DOG, labels="cat,dog").json()
    assert reply.json()["results"] == whole["results"]


def test_expect_continue(server):
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head(Expect="100-continue", Content_Length=len(DOG)))
        assert read_reply(stream).status == 100
        connection.sendall(DOG)
        assert read_reply(stream).status == 200
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head(Expect="100-continue", Content_Length=LIMIT + 1))
        assert_problem(read_reply(stream), 413, "body_too_large")
        assert read_reply(stream) is None


# ---- Bodies too large, too slow ----


def test_announced_body_over_the_limit(server):
    assert server.post_raw(b"x" * LIMIT).status == 415
    assert_problem(server.post_raw(b"x" * (LIMIT + 1)), 413, "body_too_large", str(LIMIT))
    # The answer comes although not one byte of the body does.
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head(Content_Length=10**15))
        assert_problem(read_reply(stream), 413, "body_too_large")
        assert read_reply(stream) is None


def test_chunked_body_over_the_limit(server):
    """Answered as soon as the limit is passed, and not read without end."""
    step = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head(Transfer_Encoding="chunked"))
        for _ in range(LIMIT // 0x8000 + 1):
            connection.sendall(step)
        assert_problem(read_reply(stream), 413, "body_too_large")
        assert read_reply(stream) is None
        with pytest.raises(OSError):
            for _ in range(10000):
                connection.sendall(step)
    assert server.get("/livez").status == 200


def test_a_client_that_was_refused_is_not_kept_for_ever(server):
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head(Content_Length=LIMIT + 1))
        assert_problem(read_reply(stream), 413, "body_too_large")
        with pytest.raises(OSError):
            for _ in range(200):
                time.sleep(0.1)
                connection.sendall(b"x")


def test_slow_body():
    with serving("--body-timeout-ms", 300) as server:
        with server.connect() as connection, connection.makefile("rb") as stream:
            connection.sendall(head(Content_Length=100000))
            started = time.monotonic()
            connection.sendall(b"x")
            assert_problem(read_reply(stream), 408, "body_too_slow")
            assert time.monotonic() - started > 0.2
            assert read_reply(stream) is None
        # Dripping does not help.
        with server.connect() as connection, connection.makefile("rb") as stream:
            connection.sendall(head(Transfer_Encoding="chunked"))
            with pytest.raises(OSError):
                for _ in range(200):
                    time.sleep(0.05)
                    connection.sendall(b"1\r\nx\r\n")
        assert server.post_raw(DOG).status == 200


def test_silent_connection_is_closed():
    with serving("--connection-timeout-s", 1) as server:
        with server.connect() as connection:
            assert connection.recv(1) == b""


def test_head_that_never_ends():
    with serving("--connection-timeout-s", 1, "--body-timeout-ms", 500) as server:
        with server.connect() as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\nX-Slow: ")
            with pytest.raises(OSError):
                for _ in range(200):
                    time.sleep(0.1)
                    connection.sendall(b"x")
        # A connection may be used again and again for longer than that.
        with server.connect() as connection, connection.makefile("rb") as stream:
            for _ in range(8):
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
                assert read_reply(stream).status == 200
                time.sleep(0.3)


@pytest.mark.parametrize(
    "text, status, code",
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", 400, "no_host"),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400, "repeated_header"),
        (
            head(Transfer_Encoding="chunked\r\nTransfer-Encoding: gzip") + b"0\r\n\r\n",
            400,
            "repeated_header",
        ),
        (head(Transfer_Encoding="gzip") + b"x", 501, "transfer_encoding"),
        (head(Transfer_Encoding="gzip, chunked") + b"0\r\n\r\n", 501, "transfer_encoding"),
        (
            head(Transfer_Encoding="chunked", Content_Length=3) + b"0\r\n\r\n",
            400,
            "ambiguous_length",
        ),
    ],
)
def test_doubtful_heads(server, text, status, code):
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(text)
        reply = read_reply(stream)
        assert_problem(reply, status, code)
        assert reply.headers["connection"] == "close"
        assert "total;dur=" in reply.headers["server-timing"]
        assert read_reply(stream) is None
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert read_reply(stream).status == 200


def test_memory_for_bodies_is_bounded():
    options = ["--max-body-bytes", 50000, "--max-buffered-bytes", 60000]
    reply = None
    with serving(*options) as server:
        deadline = time.monotonic() + 60
        while reply is None or reply.status != 429:
            assert time.monotonic() < deadline
            with server.connect() as connection:
                connection.sendall(head(Content_Length=50000) + b"x" * 49000)
                time.sleep(0.3)  # or this one may be the one that finds no room
                reply = server.post_raw(b"x" * 40000)
        assert_problem(reply, 429, "server_busy")
        assert reply.headers["retry-after"] == "1"
        while server.post_raw(b"x" * 40000).status != 415:
            assert time.monotonic() < deadline
        # What is answered takes no room.
        assert [server.post_raw(b"x" * 40000).status for _ in range(3)] == [415] * 3


def test_client_that_hardly_reads_its_answer():
    """Its answer, of some MiB, counts as long as it is held, which is not for ever."""
    options = ["--max-body-bytes", 1000000, "--max-buffered-bytes", 1000000]
    names = ("labels", ",".join(slow_labels(0, 1500)))
    body = form(*[("image", DOG)] * 32, names, ("top_k", "1500"), ("timeout_ms", "120000"))
    kind = f"multipart/form-data; boundary={BOUNDARY}".encode()
    first = head("/v1/classify", Content_Length=len(body)).replace(b"image/png", kind)
    with serving(*options, "--body-timeout-ms", 4000) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(first + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
        assert_problem(server.post_raw(b"x"), 429, "server_busy", "1000000 bytes")
        deadline = time.monotonic() + 30
        while server.post_raw(b"x").status == 429:
            assert time.monotonic() < deadline
            connection.recv(100)
            time.sleep(0.1)


# ---- Queue and deadline ----


def test_full_queue():
    with serving("--threads", 1, "--max-queue-rows", 1) as server:
        replies = at_once(
            8, lambda i: server.post_form(("image", DOG), ("labels", ",".join(slow_labels(i))))
        )
        assert {reply.status for reply in replies} == {200, 429}
        for reply in replies:
            if reply.status == 429:
                assert_problem(reply, 429, "queue_full", "1")
                assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert server.post_raw(DOG).status == 200


def test_queue_full_of_bytes():
    with serving("--threads", 1, "--max-queue-bytes", 1) as server:
        replies = at_once(
            8, lambda i: server.post_form(("image", DOG), ("labels", ",".join(slow_labels(i))))
        )
        assert {reply.status for reply in replies} == {200, 429}
        for reply in replies:
            if reply.status == 429:
                assert_problem(reply, 429, "queue_full", "(1 bytes of bodies)")
        assert server.post_raw(DOG).status == 200


def test_deadline():
    with serving("--threads", 1, "--request-timeout-ms", 60000) as server:

        def post(i):
            labels = ",".join(slow_labels(i, 1500))
            fields = [("image", DOG), ("labels", labels)]
            return server.post_form(*fields, *([("timeout_ms", "50")] if i else []))

        replies = at_once(4, post)
        assert replies[0].status == 200
        for reply in replies[1:]:
            assert_problem(reply, 504, "deadline_exceeded")
        late = {"images": [{"data": ""}], "labels": slow_labels(9, 1500), "timeout_ms": 1}
        assert server.post_json(late).status in (422, 504)
        assert server.post_raw(DOG, timeout_ms=60000).status == 200


def test_deadline_of_the_server():
    options = ["--request-timeout-ms", 500, "--max-request-timeout-ms", 60000]
    with serving(*options, "--max-label-texts", 10**6) as server:
        fields = [("image", DOG), ("labels", ",".join(slow_labels(0, 1500)))]
        many = [("sentence", f"number {i} {{}}") for i in range(60)]
        assert_problem(server.post_form(*fields, *many), 504, "deadline_exceeded", "500 ms")
        # In the query, since a time-out in the body counts from when it is read.
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        reply = server.request("POST", "/v1/classify?timeout_ms=60000", form(*fields), kind)
        assert reply.status == 200, reply.body
