"""More work than can be done, and the end in the middle of it."""

import threading
import time

import pytest

from hostile import FEWER, bounded_memory, head, picture_head, whole_request
from serving import (
    BOUNDARY,
    DOG,
    Server,
    assert_problem,
    at_once,
    form,
    read_reply,
    serving,
    slow_labels,
)

QUEUE_ROWS = 8
FLOOD = 400 // FEWER
CONNECTION_AND_BODY = 128 * 1024


# ---- More than can be done ----


def test_flood():
    """Requests of 400 clients that all come at once; then each comes again as often as it is
    told to."""

    def post(i):
        with server.connect() as connection, connection.makefile("rb") as stream:
            start.wait()
            connection.sendall(whole_request(b"X-Request-Id: n-%d" % i))
            reply = read_reply(stream)
            assert reply.headers["x-request-id"] == f"n-{i}"
            return reply

    start = threading.Barrier(FLOOD)
    with serving("--max-queue-rows", QUEUE_ROWS) as server:
        with bounded_memory(server, FLOOD * CONNECTION_AND_BODY):
            replies = at_once(FLOOD, post)
        assert {reply.status for reply in replies} == {200, 429}
        for reply in replies:
            if reply.status == 429:
                assert_problem(reply, 429, "queue_full", str(QUEUE_ROWS))
                assert 1 <= int(reply.headers["retry-after"]) <= 60
            else:
                assert reply.json()["results"][0]["predictions"][0]["label"] == "dog"
        assert server.post_raw(DOG).status == 200


def test_clients_that_come_again_are_all_served():
    """On connections that stay open, without a rest between their tries."""

    def post(_):
        tries = 0
        with server.connect() as connection, connection.makefile("rb") as stream:
            for _ in range(5):
                status = 429
                while status == 429:
                    connection.sendall(whole_request())
                    status = read_reply(stream).status
                    tries += status == 429
                    time.sleep(0.01 if status == 429 else 0)
                assert status == 200
        return tries

    with serving("--max-queue-rows", 2) as server:
        assert sum(at_once(40 // FEWER, post)) > 0


def test_flood_of_many_kinds():
    """Probes are answered in it, and what is bad is called bad or refused, never 5xx."""

    def post(i):
        kind, wanted = [
            (lambda: server.get("/livez"), {200}),
            (lambda: server.post_raw(DOG, labels=f"cat,dog,thing {i}"), {200, 429}),
            (lambda: server.post_raw(b"bad"), {415, 429}),
            (lambda: server.post_json({"images": [], "labels": ["cat"]}), {400, 422, 429}),
            (lambda: server.post_form(*[("image", DOG)] * 3, ("labels", "a,b")), {200, 429}),
            (lambda: server.request("PUT", f"/v1/label-sets/s-{i}", LABEL_SET, JSON), {201, 429}),
        ][i % 6]
        statuses = {kind().status for _ in range(3)}
        # Another try of the same PUT replaces the set.
        return statuses <= (wanted | {200} if i % 6 == 5 else wanted), statuses, i

    with serving("--max-queue-rows", QUEUE_ROWS) as server:
        for right, statuses, i in at_once(96 // FEWER, post):
            assert right, (i, statuses)


JSON = {"Content-Type": "application/json"}
LABEL_SET = b'{"labels": ["cat", "dog"]}'
FORM = f"multipart/form-data; boundary={BOUNDARY}".encode()


# ---- The end in the middle of it ----


class Client:
    """Posts again and again, until the service is gone. A request counts as accepted when the
    service has asked for its body, and must then be answered in full."""

    def __init__(self, server):
        self.server = server
        self.statuses = []
        self.refused_since = None  # when a connection was refused for the first time

    def run(self, started, told_to_end):
        while self.refused_since is None:
            try:
                connection = self.server.connect()
            except ConnectionError:
                assert told_to_end.is_set()
                self.refused_since = time.monotonic()
                return
            with connection, connection.makefile("rb") as stream:
                while self.post(connection, stream, told_to_end):
                    started.set()

    def post(self, connection, stream, told_to_end):
        """Whether the connection is good for another request."""
        try:
            connection.sendall(
                picture_head(b"Expect: 100-continue", b"Content-Length: %d" % len(DOG))
            )
            reply = read_reply(stream)
        except ConnectionError:
            reply = None
        if reply is None:  # closed before it was accepted, which happens at the end only
            assert told_to_end.is_set()
            return False
        if reply.status == 100:
            connection.sendall(DOG)
            reply = read_reply(stream)
            assert reply is not None, "accepted, and not answered"
        self.statuses.append(reply.status)
        assert len(reply.body) == int(reply.headers["content-length"])
        assert reply.status == 200 or (reply.status == 503 and told_to_end.is_set()), reply.body
        return reply.headers.get("connection") != "close"


@pytest.mark.parametrize("threads", [1, 2])
def test_end_under_load(threads):
    server = Server("--threads", threads)
    told_to_end = threading.Event()
    clients = [Client(server) for _ in range(16)]
    started = [threading.Event() for _ in clients]

    def work(i):
        if i < len(clients):
            clients[i].run(started[i], told_to_end)
            return None
        for event in started:
            event.wait()
        told_to_end.set()
        server.signal()
        return server.wait()

    assert at_once(len(clients) + 1, work)[-1] == 0
    assert all(client.statuses.count(200) for client in clients)
    with pytest.raises(OSError):
        server.connect()


def test_end_while_work_is_suspended():
    """Requests of both kinds that workers do."""
    server = Server("--threads", 1, "--drain-timeout-ms", 100000)
    labels = [",".join(slow_labels(i, 300)) for i in range(6)]
    requests = [
        ("POST", "/v1/classify", FORM, form(("image", DOG), ("labels", text))) for text in labels
    ]
    requests.append(("PUT", "/v1/label-sets/late", b"application/json", LABEL_SET))
    connections = [server.connect() for _ in requests]
    streams = [connection.makefile("rb") for connection in connections]
    for connection, (method, path, kind, body) in zip(connections, requests):
        lines = [b"Content-Type: " + kind, b"Content-Length: %d" % len(body)]
        connection.sendall(head(method, path, b"Expect: 100-continue", *lines))
    for connection, stream, (*_, body) in zip(connections, streams, requests):
        assert read_reply(stream).status == 100
        connection.sendall(body)
    time.sleep(0.05)  # mostly they are suspended by now, and in any case accepted
    server.signal()
    for connection, stream in zip(connections, streams):
        with connection, stream:
            reply = read_reply(stream)
            assert reply.status in (200, 201), reply.body
            assert len(reply.body) == int(reply.headers["content-length"])
            assert read_reply(stream) is None
    assert server.wait() == 0


def test_a_full_queue_refuses_before_the_body():
    """A client that waits for leave to send it is spared that."""
    line = picture_head(b"Expect: 100-continue", b"Content-Length: 1000000")

    def slow(i):
        return server.post_form(("image", DOG), ("labels", ",".join(slow_labels(i, 400))))

    with serving("--threads", 1, "--max-queue-rows", 1) as server:
        waiting = threading.Thread(target=at_once, args=(6, slow))
        waiting.start()
        refused = None
        while waiting.is_alive() and refused is None:
            with server.connect() as connection, connection.makefile("rb") as stream:
                connection.sendall(line)
                reply = read_reply(stream)
                assert reply.status in (100, 429), reply.body
                refused = reply if reply.status == 429 else None
        waiting.join()
        assert_problem(refused, 429, "queue_full", "(1 pictures)")
        assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_what_cannot_be_done_in_its_time_is_refused_at_once():
    """And not begun, to be thrown away at its deadline."""
    with serving("--threads", 1, "--label-cache-bytes", 0) as server:

        def slow(i):
            return server.post_form(("image", DOG), ("labels", ",".join(slow_labels(i, 400))))

        for i in range(3):  # from which it learns what a picture takes
            assert slow(i).status == 200
        waiting = threading.Thread(target=at_once, args=(12, lambda i: slow(10 + i)))
        waiting.start()
        refused = None
        while waiting.is_alive() and refused is None:
            reply = server.post_raw(DOG, labels="a,b", timeout_ms=20)
            assert reply.status in (200, 429, 504), reply.body
            refused = reply if reply.status == 429 else None
        waiting.join()
        assert_problem(refused, 429, "queue_full", "the request has")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
