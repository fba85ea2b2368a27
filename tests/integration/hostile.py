"""What it takes to be hard on a service: memory, many sockets, endless senders, resets."""

import contextlib
import resource
import selectors
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from command_line import BINARY, LIMIT_S
from serving import DOG

MIB = 1 << 20
SANITIZED = bool({"thread", "address-undefined"} & set(Path(BINARY).parts))
FEWER = 8 if SANITIZED else 1  # by this much sizes shrink, and time-outs grow, in slow builds
CONNECTION_BYTES = 32 * 1024  # what one connection may take for its head
LINE_END = b"\r\n"


def head(method, path, *lines):
    return LINE_END.join([f"{method} {path} HTTP/1.1\r\nHost: test".encode(), *lines]) + b"\r\n\r\n"


def picture_head(*lines, path="/v1/classify?labels=cat,dog"):
    return head("POST", path, b"Content-Type: image/png", *lines)


def whole_request(*lines, path="/v1/classify?labels=cat,dog"):
    return picture_head(b"Content-Length: %d" % len(DOG), *lines, path=path) + DOG


# ---- The process ----


def memory_bytes(server, name="VmHWM"):
    """VmHWM: the most that was ever resident; VmRSS: what is now."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines())
    return int(fields[name].split()[0]) * 1024


def open_files(server):
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@contextlib.contextmanager
def bounded_memory(server, limit):
    """At no time in the with statement may the service hold so many bytes more than before. The
    allocator and the sanitizers get something on top."""
    assert server.post_raw(DOG).status == 200
    before = memory_bytes(server)
    yield
    allowed = 8 * limit + 512 * MIB if SANITIZED else limit + 16 * MIB
    grown = memory_bytes(server) - before
    assert grown <= allowed, f"{grown / MIB:.1f} MiB more, {allowed / MIB:.1f} allowed"


@contextlib.contextmanager
def file_limit(count):
    """Lets this process, and a service that it starts, open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"only {hard} files may be open, {count} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- Clients ----


def vanish(connection):
    """Closes with a reset, as a client that crashes does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def pour(connection, step, total):
    """Sends step again and again until it is total bytes or the other side has had enough. The
    number of bytes that it took."""
    connection.settimeout(LIMIT_S)
    sent = 0
    try:
        while sent < total:
            connection.sendall(step)
            sent += len(step)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


def answer_of(connection):
    """All that comes until the other side closes; a reset ends it as well."""
    connection.settimeout(LIMIT_S)
    answer = b""
    try:
        while step := connection.recv(65536):
            answer += step
    except ConnectionResetError:
        pass
    return answer


def status_of(answer):
    """Of the first answer in these bytes; None if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer else None


def served_meanwhile(server, work):
    """What work() returns, run in a thread. While it runs, and once at least, another client must
    be served."""
    results, failures = [], []

    def run():
        try:
            results.append(work())
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while True:
            assert server.get("/livez").status == 200
            assert server.post_raw(DOG, labels="cat,dog").status == 200
            if not thread.is_alive():
                break
            time.sleep(0.02)
    finally:
        thread.join()
    if failures:
        raise failures[0]
    return results[0]


def drip(connections, text, pause_s):
    """Sends text to each connection byte by byte, and its last byte over and over, until the other
    side has closed all of them. What each was answered."""
    answers = {connection: b"" for connection in connections}
    alive = set(connections)
    deadline = time.monotonic() + LIMIT_S
    selector = selectors.DefaultSelector()
    for connection in connections:
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
    at = 0
    while alive:
        assert time.monotonic() < deadline, f"{len(alive)} connections are still open"
        for connection in list(alive):
            with contextlib.suppress(OSError):
                connection.send(text[min(at, len(text) - 1) :][:1])
        at += 1
        pause_ends = time.monotonic() + pause_s
        while alive and (left := pause_ends - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                try:
                    step = key.fileobj.recv(65536)
                except OSError:
                    step = b""
                answers[key.fileobj] += step
                if not step:
                    alive.discard(key.fileobj)
                    selector.unregister(key.fileobj)
    selector.close()
    return [answers[connection] for connection in connections]
