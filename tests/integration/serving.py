"""Starts the program as a service and talks to it, with http.client or byte by byte."""

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import tempfile
import threading
from urllib.parse import urlencode

from command_line import BINARY, LIMIT_S, MODEL, ROOT, SAMPLES, environment

DOG = (SAMPLES / "dog.png").read_bytes()
CAT = (SAMPLES / "cat.jpg").read_bytes()
BOUNDARY = "a-boundary-of-the-tests"


class Reply:
    """Status, headers (names in lower case) and body of one answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    def json(self):
        return json.loads(self.body)


class Server:
    """One running service. Whatever it prints on standard error is looked through at its end."""

    def __init__(self, *options, env=None, binary=BINARY, stderr=None):
        self.errors = tempfile.TemporaryFile()
        command = [binary, "serve", "--port", "0", "--model", MODEL, *map(str, options)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self.errors if stderr is None else stderr,
            cwd=ROOT,
            env=env or environment(),
        )
        timer = threading.Timer(LIMIT_S, self.process.kill)
        timer.start()
        line = self.process.stdout.readline().decode()
        timer.cancel()
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
        assert found, (line, self.read_errors())
        self.port = int(found[1])

    def read_errors(self):
        self.errors.seek(0)
        return self.errors.read().decode("utf-8", "replace")

    def read_log(self):
        """What was logged, line by line, but for anything that is no JSON."""
        lines = self.read_errors().split("\n")[:-1]  # without one that is not whole yet
        return [json.loads(line) for line in lines if line.startswith("{")]

    def read_messages(self):
        """(level, message) of whatever was logged that is no request."""
        return [(line["level"], line["message"]) for line in self.read_log() if "message" in line]

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        """The exit status; fails on anything a sanitizer found."""
        try:
            code = self.process.wait(LIMIT_S)
        finally:
            self.process.kill()
            self.process.stdout.close()
        found = self.read_errors()
        assert "Sanitizer" not in found and "runtime error" not in found, found
        return code

    def stop(self):
        self.signal()
        code = self.wait()
        assert code == 0, self.read_errors()

    def connect(self, timeout=LIMIT_S):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def request(self, method, path, body=None, headers=None):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            client.request(method, path, body, headers or {})
            answer = client.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            client.close()

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post_raw(self, data, content_type="image/png", **options):
        path = "/v1/classify" + ("?" + urlencode(options, doseq=True) if options else "")
        return self.request("POST", path, data, {"Content-Type": content_type})

    def post_form(self, *fields):
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.request("POST", "/v1/classify", form(*fields), {"Content-Type": kind})

    def post_json(self, document):
        text = document if isinstance(document, (bytes, str)) else json.dumps(document)
        return self.request("POST", "/v1/classify", text, {"Content-Type": "application/json"})


@contextlib.contextmanager
def serving(*options, **how):
    """A service for the length of a with statement, which must end with status 0."""
    server = Server(*options, **how)
    try:
        yield server
    except BaseException:
        server.process.kill()
        server.process.wait()
        print(server.read_errors())
        raise
    server.stop()


def form(*fields):
    """multipart/form-data of (name, text or bytes); bytes are sent as a file."""
    parts = []
    for name, value in fields:
        file = isinstance(value, bytes)
        parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode())
        parts.append(b'; filename="x"\r\nContent-Type: image/png' if file else b"")
        parts.append(b"\r\n\r\n" + (value if file else value.encode()) + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def slow_labels(number, count=400):
    """Labels that no other request has, so that they have to be compiled."""
    return [f"thing {number} of {i}" for i in range(count)]


def read_reply(stream):
    """The next answer on a socket's file object; None at its end."""
    first = stream.readline()
    if not first:
        return None
    headers = []
    while True:
        line = stream.readline().rstrip(b"\r\n").decode("latin-1")
        if not line:
            break
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    reply = Reply(int(first.split()[1]), headers, b"")
    reply.body = stream.read(int(reply.headers.get("content-length", 0)))
    return reply


def assert_problem(reply, status, code, part=""):
    """An application/problem+json whose fields agree with each other and with the headers."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    document = reply.json()
    assert set(document) == {"type", "title", "status", "detail", "error", "code", "request_id"}
    assert document["status"] == status
    assert document["code"] == code
    assert document["error"] == document["detail"]
    assert part in document["detail"]
    assert document["request_id"] == reply.headers["x-request-id"]


def at_once(count, work):
    """work(0), work(1), ... each in a thread of its own; their results in order."""
    results = [None] * count
    failures = []

    def run(i):
        try:
            results[i] = work(i)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results
