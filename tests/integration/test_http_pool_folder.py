"""serve --pool-dir: pools that are put into a folder, and POST /v1/pools/{name}/load."""

import itertools
import os
import signal
import threading
import time

import pytest

from pool_files import emoji_pool
from resources import (
    LABELS,
    assert_refused,
    classify,
    get,
    ok,
    put_pool,
    send,
    two_pools,
    versions,
    wait_until,
)
from serving import DOG, assert_problem, at_once, serving

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return two_pools(tmp_path_factory.mktemp("pools"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("folder")


@pytest.fixture(scope="module")
def server(folder):
    with serving("--pool-dir", folder) as running:
        yield running


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"pool-{next(NUMBERS)}"


def place(folder, name, data):
    """As it is to be done: under another name first."""
    (folder / "incomplete").write_bytes(data)
    os.rename(folder / "incomplete", folder / f"{name}.safetensors")


def load(server, name, query="", **headers):
    return send(server, "POST", f"/v1/pools/{name}/load{query}", **headers)


def version_of(server, name):
    reply = server.get(f"/v1/pools/{name}")
    return ok(reply)["version"] if reply.status == 200 else 0


def wait_for(server, name, version):
    wait_until(lambda: version_of(server, name) >= version, f"{name} is not loaded")
    document = get(server, f"/v1/pools/{name}")
    assert document["version"] == version
    return document


def lines_about(server, name):
    marks = f'pool "{name}":', f"pool folder: {name} "
    return [text for _, text in server.read_messages() if any(mark in text for mark in marks)]


def let_scans_pass(server, folder, pools):
    """Until a file that comes now has been loaded, as any before it would have been."""
    name = f"later-{next(NUMBERS)}"
    place(folder, name, pools[0].data)
    wait_until(lambda: version_of(server, name), f"{name} is not loaded")


# ---- Watching ----


def test_files_that_are_there_at_the_start(tmp_path, pools):
    place(tmp_path, "a", pools[0].data)
    place(tmp_path, "b.c", pools[1].data)
    place(tmp_path, "broken", DOG)
    with serving("--pool-dir", tmp_path) as server:
        listed = get(server, "/v1/pools")["pools"]
        assert [(each["name"], each["version"]) for each in listed] == [("a", 1), ("b.c", 1)]
        assert [each["origin"] for each in listed] == ["folder", "folder"]
        assert [each["sha256"] for each in listed] == [pool.sha256 for pool in pools]
        assert not any(each["default"] for each in listed)
        for each, pool in zip(("a", "b.c"), pools):
            logits = classify(server, labels=",".join(LABELS), pool=each)[1]
            assert logits == pytest.approx(pool.logits(), abs=1e-3)
        assert len(lines_about(server, "broken")) == 1


def test_a_file_that_comes_changes_and_goes(server, folder, pools, name):
    ok(put_pool(server, name, pools[0]), 201)
    place(folder, name, pools[1].data)
    document = wait_for(server, name, 2)
    assert document["origin"] == "folder"
    assert versions(document) == {1: pools[0].sha256, 2: pools[1].sha256}
    logits = classify(server, labels=",".join(LABELS), pool=name)[1]
    assert logits == pytest.approx(pools[1].logits(), abs=1e-3)
    os.utime(folder / f"{name}.safetensors")  # the same content again
    place(folder, name + "-gone", pools[0].data)
    gone = ok(load(server, name + "-gone"), 201)
    os.unlink(folder / f"{name}-gone.safetensors")
    let_scans_pass(server, folder, pools)
    assert get(server, f"/v1/pools/{name}") == document
    assert get(server, f"/v1/pools/{name}-gone") == gone


def test_a_file_that_is_written_slowly(server, folder, pools, name):
    data, longest, path = pools[0].data, 0, folder / f"{name}.safetensors"
    with open(path, "wb") as file:
        last = time.monotonic()
        for i in range(12):
            file.write(data[i * len(data) // 13 : (i + 1) * len(data) // 13])
            file.flush()
            time.sleep(0.25)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        before = version_of(server, name)
        file.write(data[12 * len(data) // 13 :])
    assert before == 0
    assert wait_for(server, name, 1)["sha256"] == pools[0].sha256
    if longest < 1:  # else this machine was so slow that the file looked complete
        (line,) = lines_about(server, name)
        assert "version 1" in line


def test_a_broken_file(server, folder, pools, name):
    """It is logged once, changes nothing, and is loaded when it is repaired."""
    before = ok(put_pool(server, name, pools[0]), 201)
    place(folder, name, pools[1].data[:-10])
    wait_until(lambda: lines_about(server, name), "the broken file is not logged")
    let_scans_pass(server, folder, pools)
    assert len(lines_about(server, name)) == 1
    assert get(server, f"/v1/pools/{name}") == before
    place(folder, name, pools[1].data)
    assert wait_for(server, name, 2)["sha256"] == pools[1].sha256


def test_files_that_are_passed_over(server, folder, pools, tmp_path):
    before = {each["name"] for each in get(server, "/v1/pools")["pools"]}
    names = ["none.safetensors", ".safetensors", "a b.safetensors", "ä.safetensors", "x" * 65]
    names += ["file", "file.safetensors.part", ".hidden", "file.SAFETENSORS", "y.safetensors~"]
    for each in names:
        ending = ".safetensors" if each == "x" * 65 else ""
        (folder / (each + ending)).write_bytes(pools[0].data)
    (folder / "sub.safetensors").mkdir()
    (folder / "sub.safetensors/inner.safetensors").write_bytes(pools[0].data)
    os.symlink("nowhere", folder / "dangling.safetensors")
    os.mkfifo(folder / "pipe.safetensors")
    logged = len(server.read_messages())
    let_scans_pass(server, folder, pools)
    os.kill(server.process.pid, signal.SIGHUP)
    let_scans_pass(server, folder, pools)
    after = {each["name"] for each in get(server, "/v1/pools")["pools"]}
    assert {each for each in after - before if not each.startswith("later-")} == set()
    log = server.read_messages()[logged:]
    assert not [text for level, text in log if level in ("warn", "error")]


def test_hang_up_tries_at_once(server, folder, pools, name):
    """Also a file that never comes to rest, and one that failed before."""
    path = folder / f"{name}.safetensors"
    broken = f"{name}-broken"
    place(folder, name, pools[0].data)
    place(folder, broken, DOG)
    done = threading.Event()

    def touch():
        while not done.wait(0.05):
            os.utime(path)

    def hang_up():
        try:
            wait_until(lambda: lines_about(server, broken), "the broken file is not logged")
            assert version_of(server, name) == 0
            server.signal(signal.SIGHUP)
            wait_for(server, name, 1)
            wait_until(lambda: len(lines_about(server, broken)) == 2, "it is not tried again")
        finally:
            done.set()

    at_once(2, lambda i: (touch, hang_up)[i]())
    assert get(server, f"/v1/pools/{name}")["sha256"] == pools[0].sha256


def test_a_folder_that_goes_and_comes_back(tmp_path, pools):
    folder = tmp_path / "folder"
    folder.mkdir()
    with serving("--pool-dir", folder) as server:
        os.rename(folder, tmp_path / "away")
        wait_until(lambda: "cannot read the pool folder" in server.read_errors(), "not logged")
        server.signal(signal.SIGHUP)
        (tmp_path / "away/a.safetensors").write_bytes(pools[0].data)
        os.rename(tmp_path / "away", folder)
        wait_for(server, "a", 1)
        assert server.read_errors().count("cannot read the pool folder") == 1


def test_no_folder(tmp_path):
    assert_refused(f"cannot read the pool folder {tmp_path / 'no'}", "--pool-dir", tmp_path / "no")
    (tmp_path / "file").write_bytes(b"")
    assert_refused("cannot read the pool folder", "--pool-dir", tmp_path / "file")


# ---- POST .../load ----


def test_load(tmp_path, pools):
    first, second = pools
    place(tmp_path, "a", first.data)
    place(tmp_path, "b", second.data)
    with serving("--pool-dir", tmp_path) as server:
        loaded = server.get("/v1/pools/a")
        reply = load(server, "a")
        assert (reply.body, reply.headers["etag"]) == (loaded.body, loaded.headers["etag"])
        assert ok(load(server, "a", "?default=true"))["default"] is True
        assert classify(server, labels=",".join(LABELS))[0] == {"name": "a", "version": 1}
        assert ok(load(server, "a", "?default=false"))["default"] is False
        assert ok(put_pool(server, "a", second), 201)["version"] == 2
        reply = load(server, "a", "?default=true")
        document = ok(reply, 201)
        assert (document["version"], document["default"]) == (3, True)
        assert (document["origin"], document["sha256"]) == ("folder", first.sha256)
        assert reply.headers["etag"] == server.get("/v1/pools/a").headers["etag"]
        ok(send(server, "POST", "/v1/pools/a/rollback"))
        assert ok(load(server, "a"), 201)["version"] == 4  # asked for, although it is kept
        assert ok(load(server, "a"))["version"] == 4
        assert send(server, "DELETE", "/v1/pools/a").status == 204
        assert ok(load(server, "a"), 201)["version"] == 5


def test_what_load_refuses(server, folder, pools, name):
    assert_problem(load(server, name), 404, "not_found", f"{name}.safetensors")
    ok(put_pool(server, name, pools[0]), 201)
    before = server.get(f"/v1/pools/{name}")
    assert_problem(load(server, name), 404, "not_found", f"{name}.safetensors")
    (folder / f"{name}.safetensors").mkdir()
    reply = load(server, name)
    assert_problem(reply, 422, "invalid_pool", f'pool "{name}": not a regular file')
    (folder / f"{name}.safetensors").rmdir()
    emoji_pool(folder / f"{name}.safetensors", text_blocks=5)
    reply = load(server, name, "?default=true")
    assert_problem(reply, 422, "invalid_pool", "query_mean")
    assert str(folder) not in reply.json()["detail"]
    for query in "?x=1", "?default=1", "?version=1", "?default=true&default=true":
        assert_problem(load(server, name, query), 422, "invalid_field")
    place(folder, name, pools[1].data)
    assert_problem(load(server, name, If_Match='"1-x"'), 412, "precondition_failed")
    assert_problem(load(server, name, If_None_Match="*"), 412, "precondition_failed")
    after = server.get(f"/v1/pools/{name}")
    assert (after.body, after.headers["etag"]) == (before.body, before.headers["etag"])
    assert ok(load(server, name, If_Match=after.headers["etag"]), 201)["version"] == 2


def test_load_over_a_limit(tmp_path, pools):
    with serving("--pool-dir", tmp_path, "--max-pools", 1) as server:
        ok(put_pool(server, "a", pools[0]), 201)
        place(tmp_path, "b", pools[1].data)
        assert_problem(load(server, "b"), 422, "over_limit", "1 pools")


# ---- With a store ----


def test_what_was_rolled_back_stays_so(tmp_path, pools):
    folder = tmp_path / "folder"
    folder.mkdir()
    options = ["--pool-dir", folder, "--state-dir", tmp_path / "state"]
    place(folder, "a", pools[0].data)
    with serving(*options) as server:
        wait_for(server, "a", 1)
        place(folder, "a", pools[1].data)
        ok(load(server, "a"), 201)
        ok(send(server, "POST", "/v1/pools/a/rollback"))
        before = server.get("/v1/pools/a")
        let_scans_pass(server, folder, pools)
        assert version_of(server, "a") == 1
    for _ in range(2):
        with serving(*options) as server:
            after = server.get("/v1/pools/a")
            assert after.headers["etag"] == before.headers["etag"]
            assert versions(ok(after)) == versions(ok(before))
            server.signal(signal.SIGHUP)
            let_scans_pass(server, folder, pools)
            assert version_of(server, "a") == 1
