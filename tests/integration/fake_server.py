"""A server that answers as it is told, byte for byte, for clients that must bear with anything."""

import contextlib
import socket
import threading

from command_line import LIMIT_S


class FakeServer:
    """Each connection is served by behave(connection) in a thread of its own, and then closed.
    Keeps what every thread failed with."""

    def __init__(self, behave, family=socket.AF_INET):
        self.behave = behave
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        self.socket.listen(256)
        self.port = self.socket.getsockname()[1]
        self.failures = []
        self.stopping = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path="/", host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(LIMIT_S)
        with connection:
            try:
                self.behave(connection)
            except (BrokenPipeError, ConnectionResetError):
                pass
            except BaseException as failure:
                self.failures.append(failure)

    def close(self):
        """From now on, connections are refused."""
        with contextlib.suppress(OSError):  # it may be closed already
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def stop(self):
        self.stopping.set()
        self.close()
        assert not self.failures, self.failures


@contextlib.contextmanager
def fake_server(behave, family=socket.AF_INET):
    server = FakeServer(behave, family)
    try:
        yield server
    finally:
        server.stop()


class Request:
    def __init__(self, first, headers, body):
        self.method, self.target, self.version = first.split(" ")
        self.headers = headers
        self.body = body


def read_request(stream):
    """The next request on a connection's file object; None at its end."""
    first = stream.readline()
    if not first:
        return None
    headers = {}
    while line := stream.readline().strip().decode("latin-1"):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return Request(first.strip().decode("latin-1"), headers, body)


def answer(status=200, body=b"", *headers):
    lines = [f"HTTP/1.1 {status} Text", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def answers(reply):
    """A behaviour: reply(request) gives the bytes to each request, None to close."""

    def behave(connection):
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                text = reply(request)
                if text is None:
                    return
                connection.sendall(text)

    return behave
