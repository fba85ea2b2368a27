"""Label sets as the default one, with time limits of their own, and while they are compiled; and
GET under conditions."""

import itertools
import threading

import pytest

from label_sets import (
    EACH_BODY,
    INVALID,
    PRECONDITION,
    THREE,
    assert_refused,
    by_json,
    by_query,
    labels_of,
    made,
    ok,
    patch,
    put,
    scores,
    send,
)
from serving import CAT, DOG, assert_problem, at_once, serving, slow_labels

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture
def alone():
    """A server of its own: the default is everybody's."""
    with serving() as running:
        yield running


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"set-{next(NUMBERS)}"


def is_default(server, name):
    document = ok(send(server, "GET", name))
    listed = {each["name"]: each for each in ok(server.get("/v1/label-sets"))["label_sets"]}
    assert listed[name]["default"] == document["default"]
    return document["default"]


def used(reply):
    """The name and version of the set that an answer tells of, or None."""
    label_set = ok(reply)["label_set"]
    return label_set and (label_set["name"], label_set["version"])


# ---- The default ----


@EACH_BODY
def test_default_set(alone, classify):
    assert used(classify(alone, DOG)) is None
    ok(classify(alone, DOG, sentence="{}"))
    assert ok(put(alone, "a", THREE, default=True), 201)["default"] is True
    assert is_default(alone, "a")
    reply = classify(alone, DOG, top_k=10)
    assert used(reply) == ("a", 1)
    assert reply.json()["results"] == ok(classify(alone, DOG, label_set="a"))["results"]
    assert set(scores(reply.json())) == set(THREE)
    assert used(classify(alone, DOG, labels=["cat", "dog"])) is None
    assert used(classify(alone, DOG, labels=["cat"], sentence="{}")) is None
    reply = classify(alone, DOG, sentence="{}")
    assert_problem(reply, *INVALID, '"sentence" goes with "labels"; the default label set "a"')

    made(put(alone, "b", ["one"]))
    assert used(classify(alone, DOG)) == ("a", 1)
    assert used(classify(alone, DOG, label_set="b")) == ("b", 1)
    ok(patch(alone, "a", add=["horse"]))
    assert used(classify(alone, DOG)) == ("a", 2)
    assert send(alone, "DELETE", "a").status == 204
    assert used(classify(alone, DOG)) is None
    ok(classify(alone, DOG, sentence="{}"))
    assert ok(put(alone, "a", THREE), 201)["default"] is False
    assert used(classify(alone, DOG)) is None


def test_one_set_is_the_default(alone):
    made(put(alone, "a", THREE, default=True))
    made(put(alone, "b", THREE, default=True))
    assert not is_default(alone, "a") and is_default(alone, "b")
    assert ok(put(alone, "a", THREE, default=False))["default"] is False
    assert used(by_query(alone, DOG)) == ("b", 1)
    assert ok(put(alone, "b", ["one", "two"]))["default"] is True  # as long as nobody says so
    assert used(by_query(alone, DOG)) == ("b", 2)
    assert ok(put(alone, "b", THREE, default=False))["default"] is False
    assert used(by_query(alone, DOG)) is None


def test_patches_of_the_default_alone_make_no_version(alone):
    first = put(alone, "a", THREE)
    made(put(alone, "b", THREE, default=True))
    reply = patch(alone, "a", default=True)
    assert ok(reply)["version"] == 1 and reply.json()["default"] is True
    assert reply.headers["etag"] == first.headers["etag"]
    assert used(by_query(alone, DOG)) == ("a", 1)
    assert not is_default(alone, "b")
    assert ok(patch(alone, "b", default=False))["default"] is False
    assert used(by_query(alone, DOG)) == ("a", 1)
    assert ok(patch(alone, "a", default=True, timeout_ms=1000))["version"] == 1
    reply = patch(alone, "a", default=False)
    assert ok(reply)["version"] == 1 and reply.headers["etag"] == first.headers["etag"]
    assert used(by_query(alone, DOG)) is None
    assert ok(patch(alone, "a", default=True, add=["horse"]))["version"] == 2
    assert used(by_query(alone, DOG)) == ("a", 2)
    assert ok(patch(alone, "a", default=False, remove=["horse"]))["version"] == 3
    assert used(by_query(alone, DOG)) is None

    stale = {"If-Match": first.headers["etag"]}
    reply = patch(alone, "a", default=True, headers=stale)
    assert_problem(reply, 412, PRECONDITION, "If-Match")
    assert used(by_query(alone, DOG)) is None
    assert_problem(patch(alone, "c", default=True), 404, "not_found", '"c"')


def test_changes_that_fail_leave_the_default(alone):
    made(put(alone, "a", THREE, default=True))
    made(put(alone, "b", THREE))
    for reply in (
        put(alone, "a", ["x " * 200], default=False),
        put(alone, "b", ["x " * 200], default=True),
        put(alone, "c", ["cat"], default=True, pool="other"),
        patch(alone, "b", remove=["horse"], default=True),
        patch(alone, "a", add=["cat"], default=False),
        put(alone, "b", ["x"], default=True, headers={"If-None-Match": "*"}),
    ):
        assert reply.status in (409, 412, 422), reply.body
        assert used(by_query(alone, DOG)) == ("a", 1)


def test_default_set_with_aliases_and_without_a_pool(alone):
    labels = [{"name": "animal", "aliases": ["dog", "cat"]}, "pizza"]
    made(put(alone, "a", labels, pool="none", default=True))
    document = ok(by_query(alone, DOG))
    assert document["pool"] is None
    assert set(scores(document)) == {"animal", "pizza"}


@pytest.mark.parametrize("bad", [1, 0, "true", None, [], {}])
def test_default_of_a_wrong_type(server, name, bad):
    reply = put(server, name, THREE, default=bad)
    assert_problem(reply, *INVALID, '"default" must be true or false')
    made(put(server, name, THREE))
    for fields in {}, {"add": ["horse"]}:

        def change(fields=fields):
            return patch(server, name, default=bad, **fields)

        assert_refused(server, name, change, *INVALID, '"default"')


# ---- timeout_ms ----


@pytest.mark.parametrize("bad", [0, -1, 1.5, 1.0, "5", True, None, [5], 600001, 10**18])
def test_bad_time_limits(server, name, bad):
    assert_problem(put(server, name, THREE, timeout_ms=bad), *INVALID, '"timeout_ms"')
    made(put(server, name, THREE, timeout_ms=120000))

    def change():
        return patch(server, name, add=["horse"], timeout_ms=bad)

    assert_refused(server, name, change, *INVALID, '"timeout_ms"')


def test_time_limits_follow_the_option():
    with serving("--change-timeout-ms", 5000) as server:
        assert_problem(put(server, "a", THREE, timeout_ms=5001), *INVALID, "1 to 5000")
        made(put(server, "a", THREE, timeout_ms=5000))
        ok(patch(server, "a", add=["horse"], timeout_ms=5000))


def test_what_takes_too_long_changes_nothing(server, name):
    made(put(server, name, THREE))
    late = {"timeout_ms": 1}

    def replace():
        return put(server, name, slow_labels(1, 2000), default=True, **late)

    def add():
        return patch(server, name, add=slow_labels(2, 2000), **late)

    for change in replace, add:
        assert_refused(server, name, change, 504, "deadline_exceeded", "1 ms")
    new = name + "-new"
    reply = put(server, new, slow_labels(3, 2000), **late)
    assert_problem(reply, 504, "deadline_exceeded", "1 ms")
    before = ok(send(server, "GET", name))["version"]
    assert ok(patch(server, name, add=["horse"]))["version"] == before + 1  # in line behind them
    assert labels_of(server, name) == [*THREE, "horse"]
    assert not is_default(server, name)
    assert send(server, "GET", new).status == 404


# ---- Limits ----


def test_limits_come_before_the_work():
    """The labels could not be compiled either, and nobody got so far."""
    with serving("--max-set-labels", 1000, "--max-set-texts", 1500) as server:
        bad = ["x " * 200]
        reply = put(server, "a", bad + slow_labels(1, 1000))
        assert_problem(reply, 422, "over_limit", "more than 1000")
        reply = put(server, "a", bad + slow_labels(1, 800), sentence=["{}", "a {}"])
        assert_problem(reply, 422, "over_limit", "801 labels times 2 sentences")
        assert send(server, "GET", "a").status == 404
        made(put(server, "a", THREE))

        def add():
            return patch(server, "a", add=bad + slow_labels(2, 1000))

        assert_refused(server, "a", add, 422, "over_limit", "more than 1000")
        reply = patch(server, "a", add=bad + slow_labels(2, 999))
        assert reply.status == 422 and "1000 labels" in reply.json()["detail"]


# ---- GET under conditions ----


def assert_not_modified(reply, etag):
    assert reply.status == 304
    assert reply.body == b""
    assert reply.headers["etag"] == etag
    assert "content-type" not in reply.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_already(server, name, method):
    etag = made(put(server, name, THREE))
    for value in (
        etag,
        "*",
        f"W/{etag}",
        f'"x", {etag}',
        f'{etag}, "x"',
        f'"x",W/{etag},"y"',
        f'W/"x", {etag}',
    ):
        assert_not_modified(send(server, method, name, If_None_Match=value), etag)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_not(server, name, method):
    etag = made(put(server, name, THREE))
    plain = send(server, method, name)
    for value in '"x"', "", etag.strip('"'), '"1"', 'W/"1-1"', f'"1{etag[1:]}', "x" * 3000:
        reply = send(server, method, name, If_None_Match=value)
        assert reply.status == 200 and reply.body == plain.body
        assert reply.headers["etag"] == etag
    changed = patch(server, name, add=["horse"]).headers["etag"]
    reply = send(server, method, name, If_None_Match=etag)
    assert reply.status == 200 and reply.headers["etag"] == changed
    assert_not_modified(send(server, method, name, If_None_Match=f"{etag}, {changed}"), changed)


def test_what_is_not_there(server, name):
    for value in "*", '"x"':
        assert_problem(send(server, "GET", name, If_None_Match=value), 404, "not_found", name)


def test_a_connection_goes_on_after_304(server, name):
    """Nothing that is left over is taken for the next answer."""
    etag = made(put(server, name, THREE))
    request = (
        f"GET /v1/label-sets/{name} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {etag}\r\n\r\n"
        "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    with server.connect() as connection:
        connection.sendall(request.encode())
        answers = b""
        while piece := connection.recv(65536):
            answers += piece
    first, _, second = answers.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 304 ") and second.startswith(b"HTTP/1.1 200 ")


# ---- While a set is compiled ----


@pytest.mark.parametrize("threads", [1, 2])
def test_classifications_do_not_wait_for_a_set(name, threads):
    """Those of the old version, of inline labels and of the model's own all go on."""
    with serving("--threads", threads) as server:
        made(put(server, name, THREE))
        done = threading.Event()

        def work(i):
            if not i:
                try:
                    return put(server, name, slow_labels(4, 3000))
                finally:
                    done.set()
            options = [{"label_set": name}, {"labels": THREE}, {}][i - 1]
            replies = []
            while not done.is_set():
                reply = by_query(server, (DOG, CAT)[i % 2], **options)
                assert reply.status == 200, reply.body
                replies.append((reply, done.is_set()))
            return replies

        changed, *others = at_once(4, work)
        version = ok(changed)["version"]
        assert changed.json()["count"] == 3000
        for replies in others:
            assert sum(not late for _, late in replies) >= 1
        assert {used(reply)[1] for reply, _ in others[0]} <= {version - 1, version}
        assert used(by_query(server, DOG, label_set=name)) == (name, version)


def test_sets_are_compiled_while_others_are(server, name):
    """Many clients at once, each with a set of its own that it changes and uses."""

    def work(i):
        own = f"{name}-{i}"
        version = ok(put(server, own, slow_labels(10 + i, 100)), 201)["version"]
        for step in range(3):
            label = f"new {i} {step}"
            assert ok(patch(server, own, add=[label]))["version"] == version + step + 1
            reply = by_json(server, DOG, label_set=own, top_k=1000)
            assert used(reply) == (own, version + step + 1)
            assert len(scores(reply.json())) == 101 + step
        return send(server, "DELETE", own).status

    assert at_once(6, work) == [204] * 6
