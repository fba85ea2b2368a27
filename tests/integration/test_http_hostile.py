"""Bodies that are made to hurt: without end, without sense, nested without measure."""

import pytest

from hostile import (
    CONNECTION_BYTES,
    FEWER,
    MIB,
    answer_of,
    bounded_memory,
    head,
    picture_head,
    pour,
    served_meanwhile,
    status_of,
)
from serving import BOUNDARY, DOG, at_once, serving

TWO_GB = 2 * 10**9
BODY_LIMIT = 2 * MIB
BUFFERED_LIMIT = 8 * MIB
CLIENTS = 4
FORM = f"multipart/form-data; boundary={BOUNDARY}".encode()
# A buffer that grows is there twice while it is copied.
MEMORY_LIMIT = 2 * BUFFERED_LIMIT + CLIENTS * CONNECTION_BYTES


@pytest.fixture(scope="module")
def server():
    with serving(
        "--max-body-bytes", BODY_LIMIT, "--max-buffered-bytes", BUFFERED_LIMIT
    ) as running:
        yield running


def assert_alive(server):
    assert server.process.poll() is None
    assert server.post_raw(DOG, labels="cat,dog").status == 200


# ---- Without end ----


@pytest.mark.parametrize(
    "first, step",
    [
        pytest.param(b"%x\r\n" % TWO_GB, b"x" * MIB, id="one-chunk"),
        pytest.param(b"", b"100000\r\n" + b"x" * MIB + b"\r\n", id="large-chunks"),
        pytest.param(b"", b"1\r\nx\r\n" * 50000, id="chunks-of-a-byte"),
    ],
)
def test_two_gigabytes_in_chunks(server, first, step):
    def send(_):
        with server.connect() as connection:
            connection.sendall(picture_head(b"Transfer-Encoding: chunked") + first)
            sent = pour(connection, step, TWO_GB)
            return sent, status_of(answer_of(connection))

    with bounded_memory(server, MEMORY_LIMIT):
        replies = served_meanwhile(server, lambda: at_once(CLIENTS, send))
    for sent, status in replies:
        assert sent < TWO_GB
        assert status in (413, None)
    assert_alive(server)


def test_two_gigabytes_that_nobody_wants():
    """What is refused by its head is read to its end, and dropped as it comes."""
    size = TWO_GB // FEWER
    options = ["--max-body-bytes", 2**31, "--max-buffered-bytes", 2**31]

    def send():
        with server.connect() as connection:
            connection.sendall(
                head("POST", "/nothing", b"Transfer-Encoding: chunked", b"Connection: close")
            )
            connection.sendall(b"%x\r\n" % size)
            step = memoryview(b"x" * MIB)
            sent = 0
            while sent < size:
                sent += connection.send(step[: size - sent])
            connection.sendall(b"\r\n0\r\n\r\n")
            return status_of(answer_of(connection))

    with serving(*options) as server, bounded_memory(server, CONNECTION_BYTES):
        assert served_meanwhile(server, send) == 404


@pytest.mark.parametrize(
    "first, step",
    [
        pytest.param(b"1;", b"x" * 4096, id="extension"),
        pytest.param(b"", b"0" * 4096, id="length-of-a-chunk"),
        pytest.param(b"0\r\n", b"X-More: and more\r\n" * 200, id="trailer"),
        pytest.param(b"0\r\nX-More: ", b"x" * 4096, id="line-of-a-trailer"),
    ],
)
def test_chunks_that_never_end(server, first, step):
    def send():
        with server.connect() as connection:
            connection.sendall(picture_head(b"Transfer-Encoding: chunked") + first)
            sent = pour(connection, step, TWO_GB)
            return sent, status_of(answer_of(connection))

    with bounded_memory(server, MEMORY_LIMIT):
        sent, status = served_meanwhile(server, send)
    assert sent < TWO_GB
    # 408 would mean that it was tried until the time was over.
    assert status is None or (400 <= status < 500 and status != 408)
    assert_alive(server)


@pytest.mark.parametrize("line", [b"X-More: ", b"X-More: and more\r\n", b"\r\n"])
def test_head_that_never_ends(server, line):
    def send():
        with server.connect() as connection:
            connection.sendall(b"" if line == b"\r\n" else b"GET /livez HTTP/1.1\r\nHost: test\r\n")
            sent = pour(connection, line * 200 if line.endswith(b"\n") else line * 1000, TWO_GB)
            return sent, status_of(answer_of(connection))

    with bounded_memory(server, CONNECTION_BYTES):
        sent, status = served_meanwhile(server, send)
    assert sent < TWO_GB
    assert status is None or 400 <= status < 500
    assert_alive(server)


# ---- JSON ----

DEPTH = 100000


@pytest.mark.parametrize("method, path", [("POST", "/v1/classify"), ("PUT", "/v1/label-sets/x")])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"[" * DEPTH, id="open-arrays"),
        pytest.param(b"[" * DEPTH + b"]" * DEPTH, id="arrays"),
        pytest.param(b'{"labels":' * DEPTH, id="open-objects"),
        pytest.param(b'{"labels":' * DEPTH + b"1" + b"}" * DEPTH, id="objects"),
        pytest.param(b'{"labels":' + b"[" * DEPTH + b"]" * DEPTH + b"}", id="field"),
        pytest.param(b'{"more":' + b"[" * DEPTH + b"]" * DEPTH + b"}", id="unknown-field"),
    ],
)
def test_nested_json(server, method, path, text):
    kind = {"Content-Type": "application/json"}
    with bounded_memory(server, BODY_LIMIT):
        reply = server.request(method, path, text, kind)
    assert reply.status in (400, 422), reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert_alive(server)


# ---- Forms ----

DELIMITER = f"--{BOUNDARY}\r\n".encode()


def part(name, data=b"x"):
    return DELIMITER + b'Content-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, data)


@pytest.mark.parametrize(
    "first, step",
    [
        pytest.param(b"", part(b"labels"), id="parts"),
        pytest.param(b"", part(b"image", DOG), id="pictures"),
        pytest.param(DELIMITER, b"X-More: and more\r\n", id="headers-of-a-part"),
        pytest.param(DELIMITER + b"X-More: ", b"x", id="line-of-a-part"),
        pytest.param(b"", b"\r\n--" + BOUNDARY.encode(), id="boundaries"),
    ],
)
def test_form_that_never_ends(server, first, step):
    many = step * max(1, 65536 // len(step))
    chunk = b"%x\r\n%s\r\n" % (len(many), many)
    lines = [b"Content-Type: " + FORM, b"Transfer-Encoding: chunked"]

    def send(_):
        with server.connect() as connection:
            connection.sendall(head("POST", "/v1/classify", *lines))
            if first:
                connection.sendall(b"%x\r\n%s\r\n" % (len(first), first))
            sent = pour(connection, chunk, TWO_GB)
            return sent, status_of(answer_of(connection))

    with bounded_memory(server, MEMORY_LIMIT):
        replies = served_meanwhile(server, lambda: at_once(CLIENTS, send))
    for sent, status in replies:
        assert sent < TWO_GB
        assert status in (413, None)
    assert_alive(server)


@pytest.mark.parametrize(
    "first, step, statuses",
    [
        pytest.param(b"", part(b"labels"), {400, 422}, id="labels"),
        pytest.param(b"", part(b"top_k", b"1"), {400, 422}, id="options"),
        pytest.param(b"", part(b"image"), {400, 413, 422}, id="pictures"),
        pytest.param(b"", part(b"a-field-of-no-meaning"), {400, 422}, id="unknown-fields"),
        pytest.param(DELIMITER, b"X-More: and more\r\n", {400}, id="headers-of-a-part"),
        pytest.param(DELIMITER + b"X-More: ", b"x", {400}, id="line-of-a-part"),
        pytest.param(part(b"image", DOG) + b"\r\n-", b"\r\n-", {400}, id="almost-boundaries"),
        pytest.param(b"", b"\r\n--" + BOUNDARY.encode(), {400}, id="boundaries"),
        pytest.param(b"", b"--", {400}, id="dashes"),
    ],
)
def test_form_as_large_as_may_be_without_an_end(server, first, step, statuses):
    """All of it is here, so that it is read, not only refused for its size."""
    body = first + step * ((BODY_LIMIT - len(first)) // len(step))
    with bounded_memory(server, 4 * BODY_LIMIT):
        reply = server.request("POST", "/v1/classify", body, {"Content-Type": FORM.decode()})
    assert reply.status in statuses, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert_alive(server)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(part(b"labels", b"cat,dog") + part(b"image", DOG), id="no-last-boundary"),
        pytest.param(part(b"labels", b"cat,dog") + part(b"image", DOG)[:-400], id="cut-picture"),
        pytest.param(part(b"labels", b"cat,dog") + part(b"image", DOG)[:60], id="cut-head"),
        pytest.param(DELIMITER, id="only-a-boundary"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_form_that_is_cut_short(server, body):
    reply = server.request("POST", "/v1/classify", body, {"Content-Type": FORM.decode()})
    assert reply.status in (400, 422), reply.body
    assert reply.headers["content-type"] == "application/problem+json"


def test_form_that_stops_in_the_middle():
    body = part(b"labels", b"cat,dog") + part(b"image", DOG)
    lines = [b"Content-Type: " + FORM, b"Content-Length: %d" % (len(body) + 100)]

    def send(i):
        with server.connect() as connection:
            connection.sendall(head("POST", "/v1/classify", *lines))
            connection.sendall(body[: len(body) * i // 19])
            return status_of(answer_of(connection))

    with serving("--body-timeout-ms", 500 * FEWER) as server:
        with bounded_memory(server, 20 * CONNECTION_BYTES):
            assert served_meanwhile(server, lambda: at_once(20, send)) == [408] * 20
        assert_alive(server)
