"""Pools as resources: /v1/pools, and which pool POST /v1/classify takes."""

import itertools
import math
import threading

import pytest

from command_line import sample_pictures
from pool_files import emoji_pool
from resources import (
    LABELS,
    Pool,
    classify,
    get,
    ok,
    put_pool,
    put_set,
    send,
    two_pools,
    versions,
)
from serving import DOG, assert_problem, at_once, serving

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return two_pools(tmp_path_factory.mktemp("pools"))


@pytest.fixture(scope="module")
def told(pools):
    """What the command line says of the dog with each."""
    return [pool.logits() for pool in pools]


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"pool-{next(NUMBERS)}"


@pytest.fixture
def given(server, pools, name):
    """A name whose versions 1, 2 (or what comes after a deleted name) are the two pools."""
    for pool in pools:
        ok(put_pool(server, name, pool), 201)
    return name


def near(logits):
    return pytest.approx(logits, abs=1e-3)


def load(server, name, query="", **headers):
    return send(server, "POST", f"/v1/pools/{name}/load{query}", **headers)


def roll_back(server, name, query="", **headers):
    return send(server, "POST", f"/v1/pools/{name}/rollback{query}", **headers)


def delete(server, name, **headers):
    return send(server, "DELETE", f"/v1/pools/{name}", **headers)


def current(server, name):
    return get(server, f"/v1/pools/{name}")["version"]


# ---- PUT and GET ----


def test_upload(server, pools, name):
    reply = put_pool(server, name, pools[0])
    document = ok(reply, 201)
    assert set(document) == {
        *("name", "version", "default", "origin", "sentence", "logit_scale", "geometry"),
        *("bytes", "load_ms", "sha256", "versions"),
    }
    assert document["name"] == name
    assert document["default"] is False
    assert document["origin"] == "upload"
    assert document["sentence"] == "a photo of a {}."
    assert document["sha256"] == pools[0].sha256
    assert document["bytes"] > 0 and document["load_ms"] > 0
    (only,) = document["versions"]
    version = document["version"]
    assert only == {"version": version, "sha256": pools[0].sha256, "origin": "upload"}
    etag = reply.headers["etag"]
    assert etag[0] == etag[-1] == '"' and len(etag) > 2
    reply = server.get(f"/v1/pools/{name}")
    assert reply.headers["etag"] == etag
    assert ok(reply) == document
    assert document in get(server, "/v1/pools")["pools"]


def test_geometry(server, tmp_path, name):
    geometry = {"groups": 6, "prompts": 20, "tokens": 2, "clusters": 2, "per_cluster": 3}
    texts = {"cluster_space": "ln", "query_space": "joint", "retrieval": "topk_pooled"}
    settings = {**geometry, **texts, "depth": 6, "pos0": "0"}
    pool = Pool(tmp_path / "x", **settings, sentence="an emoji of {}", logit_scale=math.log(20))
    document = ok(put_pool(server, name, pool), 201)
    assert document["geometry"] == {**geometry, **texts, "depth": 6, "pos0": False}
    assert document["sentence"] == "an emoji of {}"
    assert document["logit_scale"] == pytest.approx(20)


def test_scores_are_those_of_the_file(server, pools, told, name):
    """Upload, upload, roll back, roll forward, delete."""
    version = ok(put_pool(server, name, pools[0]), 201)["version"]
    expected = {version: told[0], version + 1: told[1]}
    assert told[0] != near(told[1])

    def assert_serves(wanted):
        pool, logits = classify(server, labels=",".join(LABELS), pool=name)
        assert pool == {"name": name, "version": wanted}
        assert logits == near(expected[wanted])

    assert_serves(version)
    assert ok(put_pool(server, name, pools[1]), 201)["version"] == version + 1
    assert_serves(version + 1)
    assert ok(roll_back(server, name))["version"] == version
    assert_serves(version)
    assert ok(roll_back(server, name, f"?version={version + 1}"))["version"] == version + 1
    assert_serves(version + 1)
    assert delete(server, name).status == 204
    reply = server.post_raw(DOG, labels="cat,dog", pool=name)
    assert_problem(reply, 404, "not_found", f'"{name}"')


def test_list():
    with serving() as server:
        assert get(server, "/v1/pools") == {"pools": []}


def test_list_is_in_order(server, given, pools):
    for each in "Z-list", "a-list":
        ok(put_pool(server, each, pools[0]), 201)
    listed = get(server, "/v1/pools")["pools"]
    names = [each["name"] for each in listed]
    assert names == sorted(names) and {given, "Z-list", "a-list"} <= set(names)
    assert get(server, f"/v1/pools/{given}") in listed


def test_head_and_methods(server, given):
    path = f"/v1/pools/{given}"
    head, full = server.request("HEAD", path), server.get(path)
    assert head.status == 200 and head.body == b""
    assert head.headers["etag"] == full.headers["etag"]
    assert head.headers["content-length"] == full.headers["content-length"]
    for method, at, allowed in (
        ("POST", path, {"GET", "HEAD", "PUT", "DELETE"}),
        ("PATCH", path, {"GET", "HEAD", "PUT", "DELETE"}),
        ("PUT", "/v1/pools", {"GET", "HEAD"}),
        ("GET", path + "/load", {"POST"}),
        ("PUT", path + "/rollback", {"POST"}),
    ):
        reply = server.request(method, at)
        assert_problem(reply, 405, "method_not_allowed")
        assert set(reply.headers["allow"].split(", ")) == allowed


def test_unknown(server, name):
    for reply in server.get(f"/v1/pools/{name}"), delete(server, name), roll_back(server, name):
        assert_problem(reply, 404, "not_found", f'"{name}"')
    assert server.request("HEAD", f"/v1/pools/{name}").status == 404
    assert_problem(load(server, name), 404, "not_found", "no pool folder")


# ---- Names ----


@pytest.mark.parametrize("good", ["n" * 64, "A", "a.b_c-D9", "-", "None"])
def test_names(server, pools, told, good):
    assert ok(put_pool(server, good, pools[0]), 201)["name"] == good
    assert classify(server, labels=",".join(LABELS), pool=good)[1] == near(told[0])
    assert delete(server, good).status == 204


@pytest.mark.parametrize("bad", ["n" * 65, "n" * 500, "a%20b", "a%25", "a+b", "%C3%A4", "a:b"])
def test_names_that_are_refused(server, pools, bad):
    before = server.get("/v1/pools").body
    assert_problem(put_pool(server, bad, pools[0]), 422, "invalid_field", "1 to 64 letters")
    assert_problem(load(server, bad), 422, "invalid_field", "1 to 64 letters")
    for reply in server.get(f"/v1/pools/{bad}"), delete(server, bad), roll_back(server, bad):
        assert_problem(reply, 404, "not_found")
    assert server.get("/v1/pools").body == before


def test_no_pool_is_called_none(server, pools):
    assert_problem(put_pool(server, "none", pools[0]), 422, "invalid_field", "none")
    assert_problem(load(server, "none"), 422, "invalid_field", "none")
    for reply in server.get("/v1/pools/none"), delete(server, "none"), roll_back(server, "none"):
        assert_problem(reply, 404, "not_found")


# ---- Files that are no pool for this model ----


def broken(path, case):
    if isinstance(case, bytes):
        return case
    data = emoji_pool(path, **case).read_bytes()
    path.unlink()
    return data


@pytest.mark.parametrize(
    "case, part",
    [
        (b"", "0 bytes"),
        (DOG, "not a safetensors file"),
        (b"\0" * 5000, "header"),
        ({"clusters": None}, '"clusters"'),
        ({"clusters": "many"}, '"clusters"'),
        ({"clusters": 0}, '"clusters"'),
        ({"per_cluster": 9}, "prompts"),
        ({"format": "attriprompt.pool/2"}, '"format"'),
        ({"sentence": "no place"}, 'sentence "no place"'),
        ({"retrieval": "best"}, '"retrieval"'),
        ({"depth": 7}, '"depth"'),
        ({"text_width": 64}, "pool.values"),
        ({"joint_width": 64}, "pool.keys"),
        ({"text_blocks": 5}, "query_mean"),
        ({"prompts": 80, "per_cluster": 19}, "77 tokens"),
        ({"prompts": 72, "per_cluster": 18}, "labels"),
        ({"logit_scale": "nan"}, '"logit_scale"'),
        ({"model_fingerprint": "0" * 64}, '"model_fingerprint"'),
    ],
)
def test_files_that_are_refused(server, given, tmp_path, case, part):
    data = broken(tmp_path / "x.safetensors", case)
    before = server.get(f"/v1/pools/{given}")
    reply = send(server, "PUT", f"/v1/pools/{given}?default=true", data)
    assert_problem(reply, 422, "invalid_pool", part)
    assert f'pool "{given}"' in reply.json()["detail"]
    assert "/attriprompt" not in reply.json()["detail"]
    after = server.get(f"/v1/pools/{given}")
    assert (after.body, after.headers["etag"]) == (before.body, before.headers["etag"])


def test_a_file_cut_short(server, given, pools):
    data = pools[0].data
    before = server.get(f"/v1/pools/{given}").body
    for size in 1, 8, 200, len(data) // 2, len(data) - 1:
        reply = send(server, "PUT", f"/v1/pools/{given}", data[:size])
        assert_problem(reply, 422, "invalid_pool", f'pool "{given}"')
    assert_problem(send(server, "PUT", f"/v1/pools/{given}", data + b"x"), 422, "invalid_pool")
    assert server.get(f"/v1/pools/{given}").body == before


# ---- Queries ----


@pytest.mark.parametrize(
    "method, path, part",
    [
        ("PUT", "?x=1", '"x"'),
        ("PUT", "?Default=true", '"Default"'),
        ("PUT", "?version=1", '"version"'),
        ("PUT", "?default=", '"default"'),
        ("PUT", "?default=1", '"default"'),
        ("PUT", "?default=True", '"default"'),
        ("PUT", "?default=true&default=true", '"default" is given twice'),
        ("PUT", "?default=true&x=1", '"x"'),
        ("DELETE", "?default=true", '"default"'),
        ("DELETE", "?version=1", '"version"'),
        ("POST", "/rollback?default=true", '"default"'),
        ("POST", "/rollback?x=1", '"x"'),
        ("POST", "/rollback?version=", '"version"'),
        ("POST", "/rollback?version=0", '"version"'),
        ("POST", "/rollback?version=-1", '"version"'),
        ("POST", "/rollback?version=1x", '"version"'),
        ("POST", "/rollback?version=1.0", '"version"'),
        ("POST", "/rollback?version=1&version=2", '"version" is given twice'),
    ],
)
def test_queries_that_are_refused(server, given, pools, method, path, part):
    before = server.get(f"/v1/pools/{given}").body
    reply = send(server, method, f"/v1/pools/{given}{path}", pools[0].data)
    assert_problem(reply, 422, "invalid_field", part)
    assert server.get(f"/v1/pools/{given}").body == before


# ---- Versions ----


@pytest.mark.parametrize("kept", [None, 1, 2])
def test_versions_are_kept(pools, kept):
    with serving(*(["--pool-versions", kept] if kept else [])) as server:
        for i in range(5):
            document = ok(put_pool(server, "x", pools[i % 2]), 201)
            assert document["version"] == i + 1
            last = range(max(1, i + 2 - (kept or 3)), i + 2)
            assert versions(document) == {n: pools[(n - 1) % 2].sha256 for n in last}
        reply = roll_back(server, "x", "?version=2")
        assert_problem(reply, 409, "no_such_version", "2")
        if kept == 1:
            assert_problem(roll_back(server, "x"), 409, "no_such_version")


def test_roll_back(server, given, pools):
    newest = server.get(f"/v1/pools/{given}")
    version = ok(newest)["version"]
    first = roll_back(server, given)
    assert ok(first)["version"] == version - 1
    assert ok(first)["sha256"] == pools[0].sha256
    assert set(versions(ok(first))) == {version - 1, version}
    assert first.headers["etag"] != newest.headers["etag"]
    assert server.get(f"/v1/pools/{given}").body == first.body
    assert_problem(roll_back(server, given), 409, "no_such_version")
    reply = roll_back(server, given, "?version=99999999999999999999999")
    assert_problem(reply, 409, "no_such_version")
    again = roll_back(server, given, f"?version={version}")
    assert (again.body, again.headers["etag"]) == (newest.body, newest.headers["etag"])
    same = roll_back(server, given, f"?version={version}")
    assert ok(same)["version"] == version
    ok(roll_back(server, given))
    document = ok(put_pool(server, given, pools[0]), 201)
    assert document["version"] == version + 1
    assert set(versions(document)) == {version - 1, version, version + 1}
    assert ok(roll_back(server, given))["version"] == version


def test_a_name_that_was_deleted(server, given, pools):
    """Its versions do not come back, not even under another name."""
    last = server.get(f"/v1/pools/{given}")
    reply = delete(server, given)
    assert reply.status == 204 and reply.body == b""
    assert_problem(delete(server, given), 404, "not_found", f'"{given}"')
    for each in given, given + "-other":
        again = put_pool(server, each, pools[0])
        assert ok(again, 201)["version"] > ok(last)["version"]
        assert len(ok(again, 201)["versions"]) == 1
        assert_problem(put_pool(server, each, pools[0], If_Match=last.headers["etag"]), 412, LOST)


# ---- Preconditions ----

LOST = "precondition_failed"


def test_if_match(server, given, pools):
    old = server.get(f"/v1/pools/{given}").headers["etag"]
    for reply in (
        put_pool(server, given, pools[0], If_Match='"1-x"'),
        roll_back(server, given, If_Match='"1-x"'),
        delete(server, given, If_Match='"1-x"'),
        put_pool(server, given, pools[0], If_Match=f"W/{old}"),
    ):
        assert_problem(reply, 412, LOST)
    assert server.get(f"/v1/pools/{given}").headers["etag"] == old
    new = put_pool(server, given, pools[0], If_Match=f'"other", {old}').headers["etag"]
    assert new != old
    for reply in (
        put_pool(server, given, pools[0], If_Match=old),
        roll_back(server, given, If_Match=old),
        delete(server, given, If_Match=old),
    ):
        assert_problem(reply, 412, LOST)
    assert roll_back(server, given, If_Match=new).headers["etag"] == old
    assert delete(server, given, If_Match="*").status == 204
    assert_problem(put_pool(server, given, pools[0], If_Match="*"), 412, LOST)
    assert_problem(put_pool(server, given, pools[0], If_Match=old), 412, LOST)


def test_if_none_match(server, name, pools):
    ok(put_pool(server, name, pools[0], If_None_Match="*"), 201)
    assert_problem(put_pool(server, name, pools[1], If_None_Match="*"), 412, LOST)
    assert get(server, f"/v1/pools/{name}")["sha256"] == pools[0].sha256


def test_one_of_many_wins(server, given, pools):
    etag = server.get(f"/v1/pools/{given}").headers["etag"]
    replies = at_once(4, lambda i: put_pool(server, given, pools[i % 2], If_Match=etag))
    assert sorted(reply.status for reply in replies) == [201, 412, 412, 412]


# ---- Which pool a request gets ----


def test_default_pool(pools, told):
    texts = ",".join(LABELS)
    with serving() as server:
        assert classify(server, labels=texts)[0] is None
        assert ok(put_pool(server, "a", pools[0]), 201)["default"] is False
        assert classify(server, labels=texts)[0] is None
        assert ok(put_pool(server, "a", pools[0], "?default=true"), 201)["default"] is True
        assert ok(put_pool(server, "a", pools[0]), 201)["default"] is True
        pool, logits = classify(server, labels=texts)
        assert pool == {"name": "a", "version": 3} and logits == near(told[0])
        assert classify(server, labels=texts, pool="none")[0] is None
        assert ok(put_pool(server, "b", pools[1], "?default=true"), 201)["default"] is True
        assert get(server, "/v1/pools/a")["default"] is False
        assert classify(server, labels=texts)[1] == near(told[1])
        ok(put_pool(server, "a", pools[0], "?default=false"), 201)
        assert classify(server, labels=texts)[0]["name"] == "b"
        ok(put_pool(server, "b", pools[1], "?default=false"), 201)
        assert classify(server, labels=texts)[0] is None
        ok(put_pool(server, "b", pools[1], "?default=true"), 201)
        assert delete(server, "b").status == 204
        assert classify(server, labels=texts)[0] is None
        assert ok(put_pool(server, "b", pools[1]), 201)["default"] is False


def test_pool_of_a_label_set(server, given, pools, told):
    ok(put_set(server, given, LABELS, pool=given), 201)
    version = current(server, given)
    pool, logits = classify(server, label_set=given)
    assert pool == {"name": given, "version": version} and logits == near(told[1])
    ok(roll_back(server, given))
    pool, logits = classify(server, label_set=given)
    assert pool == {"name": given, "version": version - 1} and logits == near(told[0])
    assert classify(server, label_set=given, pool="none")[0] is None
    assert delete(server, given).status == 204
    reply = server.post_raw(DOG, label_set=given)
    assert_problem(reply, 404, "not_found", f'"{given}"')
    assert classify(server, label_set=given, pool="none")[0] is None
    ok(put_pool(server, given, pools[1]), 201)
    assert classify(server, label_set=given)[1] == near(told[1])


def test_all_that_is_under_way_keeps_its_version(server, pools, told, name):
    """Whatever happens to the name meanwhile, an answer is that of the version which it names."""
    first = ok(put_pool(server, name, pools[0], "?default=true"), 201)["version"]
    done = threading.Event()

    def change():
        newest = first
        for i in range(20):
            if i % 4 == 3:
                ok(roll_back(server, name))
            else:
                newest += 1
                pool = pools[(newest - first) % 2]
                assert ok(put_pool(server, name, pool), 201)["version"] == newest
        done.set()

    def work(client):
        if client == 0:
            try:
                return change()
            finally:
                done.set()
        seen = []
        while not done.is_set() or len(seen) < 10:
            options = {"pool": name} if client % 2 else {}
            seen.append(classify(server, labels=",".join(LABELS), **options))
        return seen

    seen = list(itertools.chain(*at_once(5, work)[1:]))
    assert len({pool["version"] for pool, _ in seen}) > 2
    for pool, logits in seen:
        assert pool["name"] == name
        assert logits == near(told[(pool["version"] - first) % 2])


def test_explanations_and_batches(server, given, pools):
    """Pictures of one request share a version; what is told is the version's."""
    files = sample_pictures()[:3]
    fields = [("image", file.read_bytes()) for file in files]
    fields += [("labels", ",".join(LABELS)), ("pool", given), ("explain", "true")]
    document = ok(server.post_form(*fields))
    for file, result in zip(files, document["results"]):
        logits = {each["label"]: each["logit"] for each in result["predictions"]}
        assert logits == near(pools[1].logits(file.name))
        assert len(result["explanation"]["layers"]) == 6
