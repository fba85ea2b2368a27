"""A store that cannot be written while the server runs: nothing changes, and it goes on."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import tempfile

import pytest

from resources import LABELS, classify, get, ok, put_pool, put_set, send, two_pools
from serving import Server, assert_problem, serving

SMALL = {"prompts": 4}
MANY = [f"cow number {i}" for i in range(1000)]
STORE_BYTES = 10000  # a pool file is smaller, a commit of a new version is not


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    found = two_pools(tmp_path_factory.mktemp("pools"), **SMALL)
    assert all(len(pool.data) < STORE_BYTES for pool in found)
    return found


@contextlib.contextmanager
def largest_file(server, size):
    """No file of the server may grow beyond it."""
    pid = server.process.pid
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        if server.process.poll() is None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


def observe(server):
    return [
        (reply.body, reply.headers["etag"])
        for kind, key in (("/v1/label-sets", "label_sets"), ("/v1/pools", "pools"))
        for each in get(server, kind)[key]
        for reply in [server.get(f"{kind}/{each['name']}")]
    ]


def without_times(seen):
    return [(etag, re.sub(rb'_ms":[0-9.e-]+', b"", body)) for body, etag in seen]


def assert_not_stored(reply, folder):
    assert_problem(reply, 500, "not_stored")
    assert str(folder) not in reply.json()["detail"]


def fill(server, pools):
    ok(put_pool(server, "p", pools[0], "?default=true"), 201)
    ok(put_pool(server, "p", pools[1]), 201)
    ok(put_set(server, "s", LABELS, default=True), 201)


def assert_goes_on(server, pools, folder):
    """All changes are made again, and nothing is left of those that were not."""
    assert os.listdir(folder / "incoming") == []
    kept = {each["sha256"] for each in get(server, "/v1/pools/p")["versions"]}
    assert {f"{each}.safetensors" for each in kept} == set(os.listdir(folder / "pools"))
    assert ok(put_pool(server, "p", pools[0]), 201)["version"] == 3
    assert ok(put_pool(server, "q", pools[1]), 201)["version"] == 1
    assert ok(send(server, "POST", "/v1/pools/p/rollback"))["version"] == 2
    assert ok(put_set(server, "s", ["cow", "cat"]))["version"] == 2
    assert ok(send(server, "PATCH", "/v1/label-sets/s", {"add": ["owl"]}))["version"] == 3
    assert ok(put_set(server, "t", ["cow"]), 201)["version"] == 1
    assert send(server, "DELETE", "/v1/label-sets/t").status == 204
    return observe(server)


def test_files_that_cannot_grow(tmp_path, pools):
    with serving("--state-dir", tmp_path) as server:
        fill(server, pools)
        before, told = observe(server), classify(server)
        with largest_file(server, STORE_BYTES):
            for reply in (
                put_pool(server, "p", pools[0], "?default=false"),
                put_pool(server, "q", pools[0]),
                put_set(server, "t", MANY),
            ):
                assert_not_stored(reply, tmp_path)
        with largest_file(server, 4096):
            for reply in (
                send(server, "POST", "/v1/pools/p/rollback"),
                send(server, "DELETE", "/v1/pools/p"),
                put_set(server, "s", ["cow"]),
                send(server, "PATCH", "/v1/label-sets/s", {"add": ["cow"]}),
                send(server, "PATCH", "/v1/label-sets/s", {"default": False}),
                send(server, "DELETE", "/v1/label-sets/s"),
            ):
                assert_not_stored(reply, tmp_path)
            reply = put_pool(server, "p", pools[0])
            assert_problem(reply, 500, "internal", "the upload cannot be stored")
            assert server.get("/readyz").status == 200
            pool, logits = classify(server)
            assert pool == told[0] and logits == pytest.approx(told[1], abs=1e-3)
        assert observe(server) == before
        assert server.process.poll() is None
        after = assert_goes_on(server, pools, tmp_path)
    with serving("--state-dir", tmp_path) as server:
        assert without_times(observe(server)) == without_times(after)


def test_what_was_not_stored_is_not_there_after_a_kill(tmp_path, pools):
    with serving("--state-dir", tmp_path) as server:
        fill(server, pools)
        before = observe(server)
    server = Server("--state-dir", tmp_path)
    with largest_file(server, 4096):
        assert_not_stored(put_set(server, "s", ["cow"]), tmp_path)
        assert_not_stored(send(server, "DELETE", "/v1/pools/p"), tmp_path)
        server.signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
    with serving("--state-dir", tmp_path) as server:
        assert without_times(observe(server)) == without_times(before)
        assert_goes_on(server, pools, tmp_path)


@pytest.fixture
def small_disk():
    """A folder on a disk of its own, with room for little more than a store."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", folder]
        try:
            done = subprocess.run(mount, capture_output=True)
        except FileNotFoundError:
            pytest.skip("no mount")
        if done.returncode:
            pytest.skip("may not mount: " + done.stderr.decode())
        yield folder
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk(small_disk, pools, tmp_path):
    state = tmp_path / "state"
    os.symlink(small_disk, state)
    with serving("--state-dir", state) as server:
        fill(server, pools)
        before = observe(server)
        with open(state / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        assert_problem(put_pool(server, "p", pools[0]), 500, "internal", "cannot be stored")
        assert_not_stored(put_set(server, "t", MANY), state)
        assert observe(server) == before
        assert classify(server)[0] == {"name": "p", "version": 2}
        os.unlink(state / "ballast")
        assert_goes_on(server, pools, state)
