"""serve --state-dir: what survives, and servers that refuse to start with what they find."""

import os
import shutil
import signal
import sqlite3

import pytest

from command_line import ROOT
from resources import (
    LABELS,
    Pool,
    Upload,
    assert_refused,
    classify,
    get,
    ok,
    put_pool,
    put_set,
    send,
    spooled,
    two_pools,
)
from serving import CAT, DOG, Server, assert_problem, serving

OTHER_MODEL = ROOT / "tests/golden/prompted/even"


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return two_pools(tmp_path_factory.mktemp("pools"))


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture(scope="module")
def filled(tmp_path_factory, pools):
    """A state folder with something of everything; to be copied."""
    folder = tmp_path_factory.mktemp("filled") / "state"
    with serving("--state-dir", folder) as server:
        fill(server, pools)
    return folder


@pytest.fixture
def copied(filled, state):
    return shutil.copytree(filled, state)


def fill(server, pools):
    for i in range(4):
        ok(put_pool(server, "groups", pools[i % 2]), 201)
    ok(send(server, "POST", "/v1/pools/groups/rollback"))
    ok(put_pool(server, "main", pools[0], "?default=true"), 201)
    ok(put_pool(server, "gone", pools[1]), 201)
    assert send(server, "DELETE", "/v1/pools/gone").status == 204
    animals = [{"name": "cat", "aliases": ["kitten", "tomcat"]}, "dog", {"name": "owl"}]
    ok(put_set(server, "animals", ["cow"]), 201)
    ok(put_set(server, "animals", animals, sentence=["a {}", "the {} é"], pool="groups"))
    ok(put_set(server, "food", ["pizza", "bread"], pool="none", default=True), 201)
    ok(send(server, "PATCH", "/v1/label-sets/food", {"add": ["cake"], "remove": ["bread"]}))
    ok(put_set(server, "gone", ["cat"]), 201)
    assert send(server, "DELETE", "/v1/label-sets/gone").status == 204


def observe(server):
    """All that a client can see of label sets and pools, but for times."""
    seen = {}
    for kind, key in ("/v1/label-sets", "label_sets"), ("/v1/pools", "pools"):
        for each in get(server, kind)[key]:
            reply = server.get(f"{kind}/{each['name']}")
            document = {**ok(reply), "compile_ms": 0, "load_ms": 0}
            assert {**document, **each, "compile_ms": 0, "load_ms": 0} == document
            seen[kind, each["name"]] = reply.headers["etag"], document
    return seen


ANSWERS = [
    {},
    {"label_set": "animals"},
    {"label_set": "animals", "pool": "none"},
    {"label_set": "food", "pool": "main"},
    {"labels": ",".join(LABELS)},
    {"labels": ",".join(LABELS), "pool": "groups"},
]


def answers(server):
    return [classify(server, data, **options) for data in (DOG, CAT) for options in ANSWERS]


def assert_same(left, right):
    for (pool, logits), (other_pool, other_logits) in zip(left, right, strict=True):
        assert pool == other_pool
        assert logits == pytest.approx(other_logits, abs=1e-3)


def content(folder):
    """Every file in it, by its path; SQLite may add a log, an empty one."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if data or not name.endswith("-wal")}


def pool_files(state):
    return sorted(os.listdir(state / "pools"))


def file_of(state, pool):
    return state / f"pools/{pool.sha256}.safetensors"


# ---- What survives ----


def test_everything_survives(state, pools):
    """A stop, a kill, and another stop: versions, ETags, defaults and scores."""
    with serving("--state-dir", state) as server:
        fill(server, pools)
        seen, told = observe(server), answers(server)
    kept = {
        (kind, name): (document["version"], document["default"])
        for (kind, name), (_, document) in seen.items()
    }
    assert kept == {
        ("/v1/label-sets", "animals"): (2, False),
        ("/v1/label-sets", "food"): (2, True),
        ("/v1/pools", "groups"): (3, False),
        ("/v1/pools", "main"): (1, True),
    }
    assert pool_files(state) == sorted(f"{pool.sha256}.safetensors" for pool in pools)
    server = Server("--state-dir", state)
    assert observe(server) == seen
    assert_same(answers(server), told)
    server.signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    with serving("--state-dir", state) as server:
        assert observe(server) == seen
        assert_same(answers(server), told)
        assert "restored 4 versions of pools" in server.read_errors()
        assert "restored 2 label sets" in server.read_errors()


def test_killed_at_once(state, pools):
    """Nothing but the answers says that something is stored."""
    server = Server("--state-dir", state)
    fill(server, pools)
    seen = observe(server)
    assert send(server, "DELETE", "/v1/label-sets/animals").status == 204
    server.signal(signal.SIGKILL)
    server.wait()
    del seen["/v1/label-sets", "animals"]
    server = Server("--state-dir", state)
    assert observe(server) == seen
    assert send(server, "DELETE", "/v1/pools/groups").status == 204
    server.signal(signal.SIGKILL)
    server.wait()
    del seen["/v1/pools", "groups"]
    with serving("--state-dir", state) as server:
        assert observe(server) == seen
    assert pool_files(state) == [f"{pools[0].sha256}.safetensors"]


def test_changes_go_on(copied, pools):
    """Versions, preconditions and rollbacks are as if there had been no restart."""
    with serving("--state-dir", copied) as server:
        seen = observe(server)
        etag = seen["/v1/pools", "groups"][0]
        assert ok(send(server, "POST", "/v1/pools/groups/rollback", If_Match=etag))["version"] == 2
        assert ok(put_pool(server, "groups", pools[0]), 201)["version"] == 5
        reply = put_pool(server, "groups", pools[0], If_Match=etag)
        assert_problem(reply, 412, "precondition_failed")
        assert ok(put_pool(server, "new", pools[0]), 201)["version"] == 2  # after the deleted one
        etag = seen["/v1/label-sets", "food"][0]
        reply = send(server, "PATCH", "/v1/label-sets/food", {"default": False}, If_Match=etag)
        assert ok(reply)["version"] == 2
        assert ok(put_set(server, "gone", ["cat"]), 201)["version"] == 2
        ok(put_pool(server, "main", pools[0], "?default=false"), 201)
        told = answers(server)
        seen = observe(server)
    with serving("--state-dir", copied) as server:
        assert observe(server) == seen
        assert_same(answers(server), told)
        assert classify(server, labels="cat,dog")[0] is None


def test_fewer_versions_are_kept(copied, pools):
    """Those that are stored stay until the next change."""
    with serving("--state-dir", copied, "--pool-versions", 1) as server:
        assert get(server, "/v1/pools/groups")["version"] == 3
        document = ok(put_pool(server, "groups", pools[0]), 201)
        assert [each["version"] for each in document["versions"]] == [5]
    assert pool_files(copied) == [f"{pools[0].sha256}.safetensors"]


def test_pool_of_the_command_line(state, pools):
    """It is there once, however often the server starts with it, and stays without it."""
    name = pools[0].path.stem
    for _ in range(2):
        with serving("--state-dir", state, "--pool", pools[0].path) as server:
            document = get(server, f"/v1/pools/{name}")
            assert (document["version"], document["default"]) == (1, True)
            assert document["origin"] == "option"
    with serving("--state-dir", state) as server:
        assert {**get(server, f"/v1/pools/{name}"), "load_ms": 0} == {**document, "load_ms": 0}


def test_without_a_state_folder(pools):
    with serving() as server:
        assert "no --state-dir" in server.read_errors()
        fill(server, pools)
        etags = [etag for etag, _ in observe(server).values()]
    with serving() as server:
        assert observe(server) == {}
        fill(server, pools)
        assert not set(etags) & {etag for etag, _ in observe(server).values()}


def test_files_that_nobody_knows(copied, pools):
    """What was cut off is removed at the start; what is not the server's is left."""
    server = Server("--state-dir", copied)
    upload = Upload(server, copied / "incoming", "slow", pools[0])
    server.signal(signal.SIGKILL)
    server.wait()
    upload.connection.close()
    assert len(spooled(copied / "incoming")) == 1
    orphan = copied / f"pools/{'0' * 64}.safetensors"
    orphan.write_bytes(DOG)
    notes = copied / "pools/notes.txt"
    notes.write_text("mine")
    with serving("--state-dir", copied):
        assert os.listdir(copied / "incoming") == []
        assert not orphan.exists()
        assert notes.exists()
        assert file_of(copied, pools[0]).exists() and file_of(copied, pools[1]).exists()


# ---- Servers that do not start ----


def assert_untouched(part, copied, *options):
    before = content(copied)
    message = assert_refused(part, "--state-dir", copied, *options)
    assert content(copied) == before
    return message


def test_a_second_server(copied):
    with serving("--state-dir", copied) as server:
        seen = observe(server)
        assert_refused(f"{copied}/store.sqlite3 is in use", "--state-dir", copied)
        assert observe(server) == seen
        ok(put_set(server, "more", ["cat"]), 201)


@pytest.mark.parametrize("size", [0, 1, 50, 4095, 4096, 10000])
def test_a_store_that_was_cut_short(copied, size):
    os.truncate(copied / "store.sqlite3", size)
    assert_untouched(f"{copied}/store.sqlite3", copied)


def test_a_store_that_was_written_over(copied):
    """In every page of it."""
    file = copied / "store.sqlite3"
    whole = file.read_bytes()
    assert len(whole) % 4096 == 0
    for at in range(0, len(whole), 4096):
        for fill_byte in b"\0", b"\xff", b"x":
            file.write_bytes(whole[:at] + fill_byte * 200 + whole[at + 200 :])
            assert_untouched(f"{file}", copied)
    file.write_bytes(DOG)
    assert_untouched(f"{file}", copied)
    file.write_bytes(whole)
    with serving("--state-dir", copied):
        pass


def test_a_store_of_somebody_else(state):
    state.mkdir()
    with sqlite3.connect(state / "store.sqlite3") as base:
        base.execute("CREATE TABLE mine(x)")
    base.close()
    assert_untouched(f"{state}/store.sqlite3", state)


def test_documents_that_make_no_sense(copied):
    """Rows that are sound, but not what this program writes."""
    for kind, document in (1, "no digest"), (1, "0" * 64 + " moon"), (0, "{}"), (0, "["), (0, ""):
        folder = copied.parent / f"copy-{kind}-{len(document)}"
        shutil.copytree(copied, folder)
        with sqlite3.connect(folder / "store.sqlite3") as base:
            base.execute("UPDATE versions SET document = ? WHERE kind = ?", (document, kind))
        base.close()
        assert_untouched("animals" if kind == 0 else "groups", folder)


def test_pool_files_that_are_missing_or_changed(copied, pools):
    file = file_of(copied, pools[1])
    whole = file.read_bytes()
    file.unlink()
    assert_untouched(f"{file}", copied)
    for data in b"", whole[:-1], whole + b"x", whole[:2000] + b"?" + whole[2001:], pools[0].data:
        file.write_bytes(data)
        assert_untouched(f"{file}", copied)
    file.unlink()
    file.mkdir()
    assert_untouched(f"{file}", copied)
    file.rmdir()
    file.write_bytes(whole)
    with serving("--state-dir", copied) as server:
        assert get(server, "/v1/pools/groups")["version"] == 3


def test_another_model(copied):
    """Its pools do not fit, and the message says which."""
    message = assert_untouched('pool "groups"', copied, "--model", OTHER_MODEL)
    assert "cannot restore versions of pools: groups, version 2" in message


def test_other_weights(state, pools, tmp_path):
    pool = Pool(tmp_path / "x.safetensors", model_fingerprint="0" * 64)
    with serving("--state-dir", state, "--pool-fingerprint", "any") as server:
        ok(put_pool(server, "other", pool), 201)
    assert_untouched('"model_fingerprint"', state)
    with serving("--state-dir", state, "--pool-fingerprint", "any") as server:
        assert get(server, "/v1/pools/other")["version"] == 1


def test_less_room_than_before(copied, pools):
    """What is stored comes back whatever the limits are now; more is refused."""
    with serving("--state-dir", copied, "--max-pools", 1, "--max-label-sets", 1) as server:
        seen = observe(server)
        assert len(seen) == 4
        assert_problem(put_pool(server, "one-more", pools[0]), 422, "over_limit", "pools already")
        assert_problem(put_set(server, "one-more", ["cat"]), 422, "over_limit", "sets already")
    limits = ["--label-set-bytes", 100, "--pool-bytes", 100]
    with serving("--state-dir", copied, *limits) as server:
        assert observe(server) == seen
        assert_problem(put_pool(server, "groups", pools[0]), 422, "over_limit", "100")
        assert_problem(put_set(server, "food", ["cat"]), 422, "over_limit", "100")
        assert observe(server) == seen


def test_folders_that_cannot_be(tmp_path):
    assert_refused(f"{tmp_path}/no/state", "--state-dir", tmp_path / "no/state")
    (tmp_path / "file").write_bytes(DOG)
    assert_refused(f"{tmp_path}/file", "--state-dir", tmp_path / "file")
    (tmp_path / "state").mkdir()
    (tmp_path / "state/pools").write_bytes(DOG)
    assert_refused(f"{tmp_path}/state/pools", "--state-dir", tmp_path / "state")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/store.sqlite3").mkdir()
    assert_refused(f"{tmp_path}/deep/store.sqlite3", "--state-dir", tmp_path / "deep")
