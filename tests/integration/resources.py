"""Label sets and pools over HTTP: what tests of them send, and what must come back."""

import glob
import hashlib
import json
import os
import time

from command_line import BINARY, MODEL, SAMPLES, run, run_json
from pool_files import emoji_pool
from serving import DOG, read_reply

LABELS = ["cat", "dog", "pizza"]
JSON = {"Content-Type": "application/json"}
SANITIZED = "address" in BINARY or "thread" in BINARY
WAIT_S = 60


class Pool:
    """A pool file: its bytes, their digest, and what the command line says with it of a picture."""

    def __init__(self, path, **changes):
        self.path = emoji_pool(path, **changes)
        self.data = path.read_bytes()
        self.sha256 = hashlib.sha256(self.data).hexdigest()

    def logits(self, picture="dog.png", labels=LABELS):
        words = ["--pool", self.path, "--labels", ",".join(labels), SAMPLES / picture]
        (result,) = run_json("classify", *words)["results"]
        return dict(zip(labels, result["logits"]))


def two_pools(folder, **changes):
    """Two that no picture gets the same scores with."""
    first = Pool(folder / "first.safetensors", **changes)
    return first, Pool(folder / "second.safetensors", seed=9, **changes)


def send(server, method, path, body=None, **headers):
    """A body that is no bytes is sent as JSON. Headers as keywords: If_Match."""
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    if body is not None and not isinstance(body, bytes):
        return server.request(method, path, json.dumps(body), {**JSON, **given})
    return server.request(method, path, body, given)


def put_pool(server, name, pool, query="", **headers):
    return send(server, "PUT", f"/v1/pools/{name}{query}", pool.data, **headers)


def put_set(server, name, labels, **fields):
    return send(server, "PUT", f"/v1/label-sets/{name}", {"labels": labels, **fields})


def get(server, path):
    return ok(server.get(path))


def ok(reply, status=200):
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    return reply.json()


def classify(server, data=DOG, **options):
    """The pool that the answer names, and label -> logit."""
    document = ok(server.post_raw(data, **{"top_k": 9, **options}))
    (result,) = document["results"]
    return document["pool"], {each["label"]: each["logit"] for each in result["predictions"]}


def versions(document):
    """version -> digest of the file, of those that are kept."""
    return {each["version"]: each["sha256"] for each in document["versions"]}


def wait_until(condition, what):
    """The first true thing that it says; fails if there is none for a long time."""
    end = time.monotonic() + WAIT_S
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, what
        time.sleep(0.02)


def assert_refused(part, *words):
    """A server that does not start with these options; its message."""
    done = run("serve", "--port", "0", "--model", MODEL, *map(str, words))
    message = done.stderr.decode()
    assert done.returncode == 1, message
    assert done.stdout == b""
    last = message.splitlines()[-1]
    assert last.startswith("attriprompt serve: ") and part in last, message
    return last


# ---- Uploads step by step ----


def upload_head(name, length, *more):
    lines = [f"PUT /v1/pools/{name} HTTP/1.1", "Host: test", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def spooled(folder):
    """Files that uploads are written to meanwhile."""
    return [path for path in glob.glob(f"{folder}/attriprompt-*") if os.path.isfile(path)]


class Upload:
    """One that has sent half of its file; the server has written all of that to a file."""

    def __init__(self, server, folder, name, pool):
        before = set(spooled(folder))
        self.rest = pool.data[len(pool.data) // 2 :]
        sent = pool.data[: len(pool.data) // 2]
        self.connection = server.connect()
        self.connection.sendall(upload_head(name, len(pool.data)) + sent)

        def is_written():
            try:
                return [p for p in set(spooled(folder)) - before if os.path.getsize(p) == len(sent)]
            except FileNotFoundError:
                return []

        wait_until(is_written, "the upload is not written")

    def finish(self):
        self.connection.sendall(self.rest)
        return self.answer()

    def answer(self):
        with self.connection, self.connection.makefile("rb") as stream:
            return read_reply(stream)
