import json
import socket
import time

import pytest

from command_line import assert_failure, assert_usage, run
from fake_server import answer, answers, fake_server, read_request
from hostile import vanish
from serving import Server, serving


def health(url, *words):
    return run("health", "--url", url, "--timeout-ms", "60000", *words)


def assert_healthy(done):
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_real_server():
    with serving() as server:
        base = f"http://127.0.0.1:{server.port}"
        assert_healthy(health(f"{base}/readyz"))
        assert_healthy(health(f"{base}/livez?x=1"))
        assert_healthy(health(f"http://localhost:{server.port}/readyz"))
        missing = health(f"{base}/nothing")
        assert_failure(missing, "health", "status 404: ")
        assert f"{base}/nothing: " in missing.stderr.decode()
    assert_failure(health(f"{base}/readyz"), "health", "refused")


def test_a_server_that_is_stopping():
    server = Server("--drain-delay-ms", "20000")
    try:
        server.signal()
        url = f"http://127.0.0.1:{server.port}/readyz"
        ends = time.monotonic() + 15
        while (done := health(url)).returncode == 0 and time.monotonic() < ends:
            time.sleep(0.05)
        assert_failure(done, "health", "status 503: the server is shutting down")
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


def test_the_request():
    seen = []

    def reply(request):
        seen.append(request)
        return answer(200, b"fine")

    with fake_server(answers(reply)) as server:
        assert_healthy(health(server.url("?a=b")))
    (request,) = seen
    assert (request.method, request.target, request.version) == ("GET", "/?a=b", "HTTP/1.1")
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["connection"] == "close"


def test_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
    with fake_server(answers(lambda _: answer()), socket.AF_INET6) as server:
        assert_healthy(health(server.url(host="[::1]")))


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


ANSWERS = [
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0, ""),
    (HEAD + b"\r\nto the end", 0, ""),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(), 0, ""),
    (answer(204), 1, "status 204"),
    (answer(302, b"", "Location: /"), 1, "status 302"),
    (answer(503, json.dumps({"detail": "not yet \x1b[2J"}).encode()), 1, "503: not yet ?[2J"),
    (answer(500, b"no JSON"), 1, "status 500"),
    (answer(500, b'{"detail": 7}'), 1, "status 500"),
    (b"", 1, "without an answer"),
    (HEAD + b"Content-Length: 9\r\n\r\nabc", 1, "in the middle"),
    (b"220 mail.example ESMTP\r\n", 1, "no HTTP/1 answer"),
    (b"\x16\x03\x01\x02\r\n", 1, "no HTTP/1 answer"),
    (answer(200, b"x" * 65536), 0, ""),
    (answer(200, b"x" * 65537), 1, "a body of more than 65536 bytes"),
    (answer(200, b"x" * 200000), 1, "a body of more than 65536 bytes"),
    (HEAD + CHUNKED + b"1\r\nx\r\n" * 60000 + b"0\r\n\r\n", 0, ""),
    (HEAD + CHUNKED + b"1;" + b"x" * 90 + b"\r\nx\r\n", 1, "in the middle"),
    (HEAD + CHUNKED + (b"1;" + b"x" * 90 + b"\r\nx\r\n") * 9000, 1, "with its framing"),
    (HEAD + b"X: " + b"x" * 9000, 1, "8192"),
]


@pytest.mark.parametrize("text, code, part", ANSWERS, ids=range(len(ANSWERS)))
def test_answers(text, code, part):
    def behave(connection):
        with connection.makefile("rb") as stream:
            read_request(stream)
        connection.sendall(text)

    with fake_server(behave) as server:
        done = health(server.url())
    assert done.returncode == code, done.stderr
    if code:
        assert_failure(done, "health", part)


def test_resets():
    def behave(connection):
        connection.recv(1)
        vanish(connection)

    with fake_server(behave) as server:
        assert_failure(health(server.url()), "health", "reset")


@pytest.mark.parametrize("text", [b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\nabc"])
def test_time_out(text):
    def behave(connection):
        connection.sendall(text)
        server.stopping.wait()

    with fake_server(behave) as server:
        done = health(server.url(), "--timeout-ms", "300")
    assert_failure(done, "health", "no complete answer within 300 ms")


def test_an_endless_answer_ends():
    def behave(connection):
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1\r\nx\r\n" * 10000)

    with fake_server(behave) as server:
        assert_failure(health(server.url(), "--timeout-ms", "60000"), "health", "more than 65536")


def test_unknown_host():
    done = health("http://no-such-host.invalid/", "--timeout-ms", "20000")
    assert_failure(done, "health", "no-such-host.invalid: ")


def test_help():
    done = run("health", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"Usage: attriprompt health ")
    assert b"Examples:" in done.stdout


@pytest.mark.parametrize(
    "words, part",
    [
        (["now"], "'now'"),
        (["--url"], "--url"),
        (["--url", "https://127.0.0.1/"], "https is not spoken here"),
        (["--url", "127.0.0.1:80"], "http://"),
        (["--url", "http://a:0/"], "port"),
        (["--timeout-ms", "0"], "from 1 to"),
        (["--wrong"], "--wrong"),
    ],
)
def test_usage(words, part):
    assert_usage(run("health", *words), "health", part)
