"""Label sets as resources: /v1/label-sets, and the field label_set of POST /v1/classify."""

import itertools
import json
import threading

import pytest

from label_sets import (
    DUPLICATE,
    EACH_BODY,
    INVALID,
    JSON,
    LABELS,
    PRECONDITION,
    THREE,
    assert_refused,
    by_json,
    by_query,
    labels_of,
    made,
    ok,
    patch,
    printed_cosines,
    put,
    scores,
    send,
)
from pool_files import random_pool
from serving import CAT, DOG, assert_problem, at_once, serving

EMOJI = {"text_width": 128, "joint_width": 128, "text_blocks": 6}
DEFAULT = "a photo of a {}."
LONG = "dog " * 20 + "dog"  # fits the model's context, but not beside the pool's prompts
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    path = tmp_path_factory.mktemp("pools") / "file.safetensors"
    pool = {"tokens": 4, "per_cluster": 4, "seed": 8, "sentence": "a drawing of {}"}
    random_pool(path, **EMOJI, **pool, name="groups")
    with serving("--pool", path) as running:
        yield running


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"set-{next(NUMBERS)}"


# ---- PUT, GET, DELETE ----


def test_register(server, name):
    reply = put(server, name, ["dog", " cat\n", "zebra"])
    document = ok(reply, 201)
    assert document.pop("version") > 0 and document.pop("compile_ms") > 0
    expected = {"name": name, "count": 3, "sentence": [DEFAULT], "pool": None, "default": False}
    assert document == expected
    etag = reply.headers["etag"]
    assert etag[0] == etag[-1] == '"' and len(etag) > 2
    reply = send(server, "GET", name)
    assert reply.headers["etag"] == etag
    found = ok(reply)
    assert found.pop("version") > 0 and found.pop("compile_ms") > 0
    assert found == {**expected, "labels": ["dog", "cat", "zebra"]}


def test_replace(server, name):
    first = put(server, name, THREE)
    version = ok(first, 201)["version"]
    reply = put(server, name, ["one", "two"], sentence="{}")
    document = ok(reply)
    assert document["version"] == version + 1
    assert (document["count"], document["sentence"]) == (2, ["{}"])
    assert reply.headers["etag"] != first.headers["etag"]
    assert labels_of(server, name) == ["one", "two"]
    assert ok(put(server, name, ["one", "two"]))["version"] == version + 2


def test_sentences(server, name):
    assert ok(put(server, name, ["cat"], sentence="a {}"), 201)["sentence"] == ["a {}"]
    several = ["a {}", "the {} here", "{}"]
    assert ok(put(server, name, ["cat"], sentence=several))["sentence"] == several
    assert ok(send(server, "GET", name))["sentence"] == several
    assert ok(patch(server, name, add=["dog"]))["sentence"] == several
    inline = ok(by_json(server, DOG, labels=["cat", "dog"], sentence=several))
    assert scores(ok(by_json(server, DOG, label_set=name))) == pytest.approx(
        scores(inline), abs=1e-5
    )


def test_list():
    with serving() as server:
        assert ok(server.get("/v1/label-sets")) == {"label_sets": []}
        names = ["b", "a", "B", "a.b", "a-b", "a_b", "10", "9", "aa"]
        answers = {each: ok(put(server, each, [each, "other"]), 201) for each in names}
        listed = ok(server.get("/v1/label-sets"))
        assert listed == {"label_sets": [answers[each] for each in sorted(names)]}
        assert send(server, "DELETE", "a.b").status == 204
        names.remove("a.b")
        listed = ok(server.get("/v1/label-sets"))["label_sets"]
        assert [each["name"] for each in listed] == sorted(names)


def test_delete(server, name):
    made(put(server, name, THREE))
    changed = patch(server, name, add=["horse"])
    first = changed.headers["etag"]
    reply = send(server, "DELETE", name)
    assert reply.status == 204 and reply.body == b""
    assert "content-type" not in reply.headers and "etag" not in reply.headers
    assert_problem(send(server, "DELETE", name), 404, "not_found", f'"{name}"')
    assert_problem(send(server, "GET", name), 404, "not_found", f'"{name}"')
    again = put(server, name, THREE)
    assert ok(again, 201)["version"] > changed.json()["version"]
    assert again.headers["etag"] != first
    assert_problem(patch(server, name, add=["x"], headers={"If-Match": first}), 412, PRECONDITION)


def test_no_version_of_a_name_comes_back():
    """Whatever is deleted and made again, and other names begin after it too."""
    with serving() as server:
        assert [put(server, "a", [each]).json()["version"] for each in THREE] == [1, 2, 3]
        assert ok(put(server, "b", THREE), 201)["version"] == 1
        assert send(server, "DELETE", "a").status == 204
        assert ok(put(server, "a", THREE), 201)["version"] == 4
        assert ok(put(server, "c", THREE), 201)["version"] == 4
        assert ok(put(server, "b", THREE))["version"] == 2
        assert send(server, "DELETE", "b").status == 204
        assert ok(put(server, "b", THREE), 201)["version"] == 4


def test_unknown(server, name):
    for reply in (
        send(server, "GET", name),
        send(server, "DELETE", name),
        patch(server, name, add=["cat"]),
        patch(server, name, remove=["cat"]),
    ):
        assert_problem(reply, 404, "not_found", f'"{name}"')


def test_head(server, name):
    made(put(server, name, THREE))
    for path in "/v1/label-sets", f"/v1/label-sets/{name}":
        get, head = server.get(path), server.request("HEAD", path)
        assert head.status == 200 and head.body == b""
        for key in "content-length", "content-type":
            assert head.headers[key] == get.headers[key]
        assert head.headers.get("etag") == get.headers.get("etag")
    assert server.request("HEAD", f"/v1/label-sets/{name}-no").status == 404


def test_methods(server):
    reply = server.request("POST", "/v1/label-sets/a", "{}", JSON)
    assert_problem(reply, 405, "method_not_allowed")
    allowed = set(reply.headers["allow"].split(", "))
    assert allowed == {"GET", "HEAD", "PUT", "PATCH", "DELETE"}
    for method in "PUT", "PATCH", "DELETE", "POST":
        reply = server.request(method, "/v1/label-sets", "{}", JSON)
        assert_problem(reply, 405, "method_not_allowed")
        assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD"}


# ---- Names ----


@pytest.mark.parametrize("good", ["n" * 64, "A", "0", "a.b_c-D9", "-", "_"])
def test_names(server, good):
    assert ok(put(server, good, ["cat"]), 201)["name"] == good
    assert labels_of(server, good) == ["cat"]
    assert ok(by_query(server, DOG, label_set=good))["label_set"]["name"] == good
    assert send(server, "DELETE", good).status == 204


@pytest.mark.parametrize(
    "bad", ["n" * 65, "n" * 500, "a%20b", "%20", "a%25", "a%", "a+b", "%C3%A4", "a:b", "%7Bname%7D"]
)
def test_names_that_are_refused(server, bad):
    before = server.get("/v1/label-sets").body
    assert_problem(put(server, bad, ["cat"]), 422, "invalid_field", "1 to 64 letters")
    assert send(server, "GET", bad).status == 404
    assert send(server, "DELETE", bad).status == 404
    assert send(server, "PATCH", bad, {"add": ["cat"]}).status in (404, 422)
    assert server.get("/v1/label-sets").body == before


@pytest.mark.parametrize("bad", ["", "a/b", "a%2Fb", "a/", "a%00b", "%00"])
def test_names_that_are_no_segment(server, bad):
    for method in "PUT", "PATCH", "GET", "DELETE":
        body = {"labels": ["cat"]} if method == "PUT" else None
        assert_problem(send(server, method, bad, body), 404, "not_found")


def test_names_are_decoded(server):
    made(put(server, "%61%2Eb", ["cat"]))
    assert labels_of(server, "a.b") == ["cat"]
    assert send(server, "DELETE", "a.b").status == 204


# ---- PATCH ----


def test_add_and_remove(server, name):
    first = put(server, name, THREE)
    version = ok(first, 201)["version"]
    reply = patch(server, name, add=[" horse", "cow "])
    document = ok(reply)
    assert (document["version"], document["count"]) == (version + 1, 5)
    assert "labels" not in document and reply.headers["etag"] != first.headers["etag"]
    assert labels_of(server, name) == [*THREE, "horse", "cow"]
    assert ok(patch(server, name, remove=["cow", " cat "]))["version"] == version + 2
    assert labels_of(server, name) == ["dog", "pizza", "horse"]
    assert ok(patch(server, name, remove=["pizza"], add=["sheep", "cat"]))["version"] == version + 3
    assert labels_of(server, name) == ["dog", "horse", "sheep", "cat"]
    assert ok(patch(server, name, remove=["dog"]))["version"] == version + 4


def test_removed_and_added_again(server, name):
    made(put(server, name, THREE))
    before = printed_cosines(by_query(server, DOG, label_set=name))
    ok(patch(server, name, remove=["cat"]))
    assert set(printed_cosines(by_query(server, DOG, label_set=name))) == {"dog", "pizza"}
    ok(patch(server, name, add=["cat"]))
    assert labels_of(server, name) == ["dog", "pizza", "cat"]
    ok(patch(server, name, remove=["dog"], add=["dog"]))
    assert labels_of(server, name) == ["pizza", "cat", "dog"]
    after = printed_cosines(by_query(server, DOG, label_set=name))
    assert {k: float(v) for k, v in after.items()} == pytest.approx(
        {k: float(v) for k, v in before.items()}, abs=1e-6
    )


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"remove": ["horse"]}, (*LABELS, '"horse"')),
        ({"remove": ["cat", "horse"], "add": ["cow"]}, (*LABELS, '"horse"')),
        ({"remove": ["Cat"]}, (*LABELS, '"Cat"')),
        ({"remove": THREE}, (*LABELS, "no labels")),
        ({"add": ["cat"]}, (*DUPLICATE, '1 label is there more than once: "cat"')),
        ({"add": ["cow", "\tdog "]}, (*DUPLICATE, '"dog"')),
        ({"add": ["cow", "cat"], "remove": ["dog"]}, (*DUPLICATE, '"cat"')),
        ({"add": ["dog", "pizza", "ox"]}, (*DUPLICATE, "2 labels", '"dog", "pizza"')),
        ({"add": ["cow", "ox", " cow", "ox\t"]}, (*DUPLICATE, '"cow", "ox"')),
        ({"remove": ["cat", "cat "]}, (*DUPLICATE, '"cat"')),
        ({}, (*INVALID, '"add"', '"remove"')),
        ({"add": []}, (*INVALID, '"add"')),
        ({"remove": []}, (*INVALID, '"remove"')),
        ({"add": "cow"}, (*INVALID, '"add"')),
        ({"add": ["cow", 1]}, (*INVALID, '"add": item 2')),
        ({"add": ["cow", " \t"]}, (*INVALID, '"add": item 2')),
        ({"remove": {"cat": 1}}, (*INVALID, '"remove"')),
        ({"remove": [None]}, (*INVALID, '"remove": item 1')),
        ({"labels": ["cow"]}, (*INVALID, '"labels"')),
        ({"add": ["cow"], "sentence": "{}"}, (*INVALID, '"sentence"')),
        ({"add": ["cow"], "pool": "none"}, (*INVALID, '"pool"')),
        ({"add": ["cow"], "Remove": ["cat"]}, (*INVALID, '"Remove"')),
        ({"add": ["x " * 200]}, (*LABELS, "77")),
    ],
)
def test_patches_that_are_refused(server, name, fields, expected):
    made(put(server, name, THREE))
    assert_refused(server, name, lambda: send(server, "PATCH", name, fields), *expected)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, (*INVALID, '"labels"')),
        ({"sentence": "{}"}, (*INVALID, '"labels"')),
        ({"labels": []}, (*INVALID, '"labels"')),
        ({"labels": "cat"}, (*INVALID, '"labels"')),
        ({"labels": None}, (*INVALID, '"labels"')),
        ({"labels": ["cat", ""]}, (*INVALID, '"labels": item 2')),
        ({"labels": ["cat", ["dog"]]}, (*INVALID, '"labels": item 2')),
        ({"labels": ["cat"], "add": ["dog"]}, (*INVALID, '"add"')),
        ({"labels": ["cat"], "Pool": "none"}, (*INVALID, '"Pool"')),
        ({"labels": ["cat"], "pool": 1}, (*INVALID, '"pool"')),
        ({"labels": ["cat"], "pool": ""}, (*INVALID, '"pool"')),
        ({"labels": ["cat"], "pool": "x" * 65}, (*INVALID, '"pool"')),
        ({"labels": ["cat"], "pool": "other"}, (*LABELS, '"other"')),
        ({"labels": ["cat"], "sentence": 1}, (*INVALID, '"sentence"')),
        ({"labels": ["cat"], "sentence": []}, (*INVALID, '"sentence"')),
        ({"labels": ["cat"], "sentence": ["{}", 2]}, (*INVALID, '"sentence": item 2')),
        ({"labels": ["cat"], "sentence": "a cat"}, (*LABELS, '"a cat"')),
        ({"labels": ["cat"], "sentence": ["{}", "{}{}"]}, (*LABELS, '"{}{}"')),
        ({"labels": ["cat", "x " * 200]}, (*LABELS, "77")),
        ({"labels": ["cat", "dog", " cat"]}, (*DUPLICATE, '"cat"')),
        ({"labels": ["a", "b", "a", "c", "b\n"]}, (*DUPLICATE, '"a", "b"', "2 ")),
        (["cat"], (*INVALID, "object")),
        ("cat", (400, "malformed_body", "JSON, line 1")),
        ('{"labels": ["cat"]', (400, "malformed_body", "JSON, line 1")),
        ('{"labels": ["cat"]} x', (400, "malformed_body", "JSON, line 1")),
        ('{"labels": ["cat"], "labels": ["dog"]}', (400, "malformed_body", "JSON")),
        (b'{"labels": ["\xff"]}', (400, "malformed_body", "JSON")),
        (b"", (400, "malformed_body", "JSON")),
    ],
)
def test_puts_that_are_refused(server, name, fields, expected):
    """Of a name that there is and of one that there is not."""
    made(put(server, name, THREE))
    assert_refused(server, name, lambda: send(server, "PUT", name, fields), *expected)
    new = name + "-new"
    assert_problem(send(server, "PUT", new, fields), *expected[:3])
    assert send(server, "GET", new).status == 404


def test_many_duplicates_are_named_in_part(server, name):
    reply = put(server, name, [f"label {i % 9}" for i in range(18)])
    assert_problem(reply, *DUPLICATE, '"label 0", "label 1"')
    assert "9 labels" in reply.json()["detail"]
    long = put(server, name, ["猫" * 200, "猫" * 200])
    assert_problem(long, *DUPLICATE, "猫" * 20)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/jsonx", "image/png", ""])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_types_that_are_not_json(server, name, method, kind):
    made(put(server, name, THREE))
    body = json.dumps({"labels": ["a"]} if method == "PUT" else {"add": ["a"]})
    headers = {} if kind is None else {"Content-Type": kind}
    path = f"/v1/label-sets/{name}"

    def change():
        return server.request(method, path, body, headers)

    assert_refused(server, name, change, 415, "unsupported_body", "application/json")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_types_that_are_json(server, name, kind):
    made(send(server, "PUT", name, {"labels": ["a"]}, Content_Type=kind))
    ok(send(server, "PATCH", name, {"add": ["b"]}, Content_Type=kind))


# ---- If-Match and If-None-Match ----


CHANGES = pytest.mark.parametrize(
    "method, document, status",
    [("PUT", {"labels": ["one"]}, 200), ("PATCH", {"add": ["one"]}, 200), ("DELETE", None, 204)],
)


@CHANGES
def test_if_match_of_an_older_version(server, name, method, document, status):
    old = made(put(server, name, THREE))
    new = patch(server, name, add=["horse"]).headers["etag"]
    for wrong in old, '"1"', "nothing", '"a", "b"', new.strip('"'), f"W/{new}":

        def change(wrong=wrong):
            return send(server, method, name, document, If_Match=wrong)

        assert_refused(server, name, change, 412, PRECONDITION, "If-Match")
    assert send(server, method, name, document, If_Match=new).status == status


@CHANGES
@pytest.mark.parametrize("form", ["*", "{}", '"x", {}', '{}, "x"', '"x",{},"y"', "W/{0}, {0}"])
def test_if_match_of_this_version(server, name, method, document, status, form):
    etag = made(put(server, name, THREE))
    reply = send(server, method, name, document, If_Match=form.format(etag))
    assert reply.status == status, reply.body


def test_if_match_of_no_set(server, name):
    for value in "*", '"1-1"':
        reply = put(server, name, THREE, headers={"If-Match": value})
        assert_problem(reply, 412, PRECONDITION, "If-Match")
        assert send(server, "GET", name).status == 404
        for method, document in ("PATCH", {"add": ["a"]}), ("DELETE", None):
            assert send(server, method, name, document, If_Match=value).status in (404, 412)


def test_empty_if_match_names_nothing(server, name):
    """Whatever it is taken for, it is the same for all three."""
    made(put(server, name, THREE))
    statuses = [
        send(server, "PUT", name, {"labels": THREE}, If_Match="").status,
        send(server, "PATCH", name, {"add": ["a"]}, If_Match="").status,
        send(server, "DELETE", name, If_Match="").status,
    ]
    assert statuses in ([412, 412, 412], [200, 200, 204])


def test_if_none_match(server, name):
    only_new = {"If-None-Match": "*"}
    made(put(server, name, THREE, headers=only_new))

    def change():
        return put(server, name, ["one"], headers=only_new)

    assert_refused(server, name, change, 412, PRECONDITION, f'"{name}"')
    assert send(server, "DELETE", name).status == 204
    made(put(server, name, ["one"], headers=only_new))


def test_one_of_many_registers(server, name):
    only_new = {"If-None-Match": "*"}
    replies = at_once(8, lambda i: put(server, name, [f"label {i}"], headers=only_new))
    assert sorted(reply.status for reply in replies) == [201] + 7 * [412]
    (winner,) = (i for i, reply in enumerate(replies) if reply.status == 201)
    assert labels_of(server, name) == [f"label {winner}"]


def test_no_update_is_lost(server, name):
    etag = made(put(server, name, THREE))
    replies = at_once(8, lambda i: patch(server, name, add=[f"l{i}"], headers={"If-Match": etag}))
    assert sorted(reply.status for reply in replies) == [200] + 7 * [412]
    assert len(labels_of(server, name)) == 4


# ---- Limits ----


def test_limits():
    options = ["--max-label-sets", 2, "--max-set-labels", 6, "--max-set-texts", 8]
    with serving(*options) as server:
        five = [f"label {i}" for i in range(5)]
        made(put(server, "a", five))
        assert_problem(put(server, "b", [*five, "x", "y"]), 422, "over_limit", "6")
        made(put(server, "b", [*five, "x"]))
        assert_problem(put(server, "c", ["cat"]), 422, "over_limit", "2 label sets")
        ok(put(server, "b", ["cat"]))
        assert send(server, "DELETE", "b").status == 204
        made(put(server, "c", ["cat"]))

        ok(patch(server, "a", add=["x"]))
        reply = patch(server, "a", add=["y"])
        assert reply.status == 422 and "6 labels" in reply.json()["detail"]
        ok(patch(server, "a", add=["y"], remove=["x"]))
        assert labels_of(server, "a") == [*five, "y"]
        reply = patch(server, "c", add=[*five, "x", "y"])
        assert_problem(reply, 422, "over_limit", "6")
        values = [str(i) for i in range(2000)]
        assert_problem(put(server, "c", values), 422, "over_limit", "more than")


def test_limit_of_texts():
    with serving("--max-set-texts", 8) as server:
        reply = put(server, "a", ["a", "b", "c"], sentence=["{}", "{}.", "{}!"])
        assert_problem(reply, 422, "over_limit", "8 texts")
        made(put(server, "a", ["a", "b", "c"], sentence=["{}", "{}."]))
        ok(patch(server, "a", add=["d"]))
        reply = put(server, "b", ["a"], sentence=["{}" + "!" * i for i in range(9)])
        assert_problem(reply, 422, "over_limit", "8")


def test_limit_of_texts_holds_for_patches():
    with serving("--max-set-texts", 8) as server:
        made(put(server, "a", ["a", "b", "c", "d"], sentence=["{}", "{}."]))
        reply = patch(server, "a", add=["e"])
        assert reply.status == 422, reply.body
        assert "8 texts" in reply.json()["detail"]


def test_no_sets_at_all():
    with serving("--max-label-sets", 0) as server:
        assert_problem(put(server, "a", ["cat"]), 422, "over_limit", "0 label sets")
        assert ok(server.get("/v1/label-sets")) == {"label_sets": []}


def test_limit_of_bytes():
    many = [f"label {i}" for i in range(20)]
    with serving("--label-set-bytes", 20000) as server:
        made(put(server, "a", many))
        assert_problem(put(server, "b", many), 422, "over_limit", "20000")
        ok(put(server, "a", [f"thing {i}" for i in range(20)]))  # in place of as many
        reply = patch(server, "a", add=[f"more {i}" for i in range(40)])
        assert_problem(reply, 422, "over_limit", "20000")
        assert ok(send(server, "GET", "a"))["version"] == 2
        assert send(server, "DELETE", "a").status == 204
        made(put(server, "b", many))


# ---- POST /v1/classify ----


@EACH_BODY
def test_as_the_same_labels(server, name, classify):
    labels = ["cat", "dog", "pizza", "red car"]
    version = ok(put(server, name, labels), 201)["version"]
    for data in DOG, CAT:
        document = ok(classify(server, data, label_set=name))
        assert document["label_set"] == {"name": name, "version": version}
        inline = ok(classify(server, data, labels=labels))
        assert inline["label_set"] is None
        assert len(scores(document)) == 4
        assert scores(document) == pytest.approx(scores(inline), abs=1e-5)
    assert len(scores(ok(classify(server, DOG, label_set=name, top_k=1)))) == 1


@EACH_BODY
def test_label_set_excludes_labels_and_sentence(server, name, classify):
    made(put(server, name, THREE))
    for other in {"labels": ["cat"]}, {"sentence": "{}"}, {"labels": ["cat"], "sentence": "{}"}:
        reply = classify(server, DOG, label_set=name, **other)
        assert_problem(reply, 422, "invalid_field", '"label_set"')


@EACH_BODY
def test_unknown_label_set(server, name, classify):
    for unknown in name, "a b", "x" * 64, "猫":
        reply = classify(server, DOG, label_set=unknown)
        assert_problem(reply, 404, "not_found", f'"{unknown}"')
    for bad in "", "x" * 65:
        assert_problem(classify(server, DOG, label_set=bad), 422, "invalid_field", '"label_set"')


def test_label_set_of_a_wrong_type(server):
    for bad in 1, None, ["a"], {"name": "a"}:
        assert_problem(by_json(server, DOG, label_set=bad), 422, "invalid_field", '"label_set"')


def test_label_set_given_twice(server, name):
    made(put(server, name, THREE))
    for reply in (
        server.post_raw(DOG, label_set=[name, name]),
        server.post_form(("image", DOG), ("label_set", name), ("label_set", name)),
    ):
        assert_problem(reply, 422, "invalid_field", '"label_set" is given twice')


def test_old_labels_keep_their_cosines(server, name):
    """And what is added is used at once."""
    version = ok(put(server, name, THREE), 201)["version"]
    before = printed_cosines(by_query(server, DOG, label_set=name))
    added = [f"animal {i}" for i in range(300)]
    ok(patch(server, name, add=added))
    reply = by_query(server, DOG, label_set=name, top_k=1000)
    assert reply.json()["label_set"] == {"name": name, "version": version + 1}
    after = printed_cosines(reply)
    assert set(after) == {*THREE, *added}
    assert {label: after[label] for label in THREE} == before
    ok(patch(server, name, remove=["cat", *added[:100]]))
    reply = by_query(server, DOG, label_set=name, top_k=1000)
    assert reply.json()["label_set"]["version"] == version + 2
    assert set(printed_cosines(reply)) == {"dog", "pizza", *added[100:]}


def test_a_thousand_more_and_five_thousand(server, name):
    many = [f"thing number {i}" for i in range(4000)]
    more = [f"other thing {i}" for i in range(1000)]
    assert ok(put(server, name, many), 201)["count"] == 4000
    assert ok(patch(server, name, add=more))["count"] == 5000
    assert labels_of(server, name) == many + more
    found = scores(ok(by_query(server, DOG, label_set=name, top_k=5000)))
    assert len(found) == 5000
    assert sum(found.values()) == pytest.approx(1, abs=1e-4)
    assert ok(patch(server, name, remove=many))["count"] == 1000
    assert labels_of(server, name) == more


def test_all_at_once(server, name):
    """Eight clients add labels to one set; others classify with it meanwhile."""
    first = ok(put(server, name, ["seed"]), 201)["version"]
    done = threading.Event()
    adders, steps = 8, 5
    added = {first: "seed"}  # version -> what it added
    finished = []

    def add(i):
        for step in range(steps):
            label = f"label {i} {step}"
            version = ok(patch(server, name, add=[label]))["version"]
            assert version not in added
            added[version] = label

    def look():
        seen = []
        while not done.is_set():
            document = ok(by_query(server, DOG, label_set=name, top_k=1000))
            seen.append((document["label_set"]["version"], set(scores(document))))
        return seen

    def work(i):
        if i >= adders:
            return look()
        try:
            return add(i)
        finally:
            finished.append(i)
            if len(finished) == adders:
                done.set()

    results = at_once(adders + 3, work)
    versions = range(first, first + adders * steps + 1)
    assert sorted(added) == list(versions)
    assert labels_of(server, name) == [added[version] for version in versions]
    assert ok(send(server, "GET", name))["version"] == versions[-1]
    for seen in results[adders:]:
        assert seen
        assert [version for version, _ in seen] == sorted(version for version, _ in seen)
        for version, labels in seen:
            assert labels == {added[each] for each in range(first, version + 1)}


def test_removed_while_in_use(server, name):
    """A classification finishes with the set that it started with, or finds none."""

    def work(i):
        if i:
            return [by_query(server, DOG, label_set=name) for _ in range(10)]
        versions = []
        for _ in range(10):
            versions.append(ok(put(server, name, THREE), 201)["version"])
            assert send(server, "DELETE", name).status == 204
        return versions

    versions, *replies = at_once(4, work)
    assert versions == sorted(set(versions))
    for reply in sum(replies, []):
        if reply.status == 200:
            assert set(scores(reply.json())) == set(THREE)
            assert reply.json()["label_set"]["name"] == name
            assert reply.json()["label_set"]["version"] in versions
        else:
            assert_problem(reply, 404, "not_found", name)


def test_delete_without_if_match_while_others_change_it(server, name):
    made(put(server, name, THREE))

    def work(i):
        if not i:
            return [send(server, "DELETE", name).status for _ in range(20)]
        return [put(server, name, [f"l {i} {step}"]).status for step in range(20)]

    deletions, *changes = at_once(4, work)
    assert set(deletions) <= {204, 404}
    assert set(sum(changes, [])) <= {200, 201}


# ---- With a pool ----


@EACH_BODY
def test_with_the_pool(prompted, name, classify):
    document = ok(put(prompted, name, THREE), 201)
    assert document["sentence"] == ["a drawing of {}"]
    versions = {name: document["version"]}
    named = name + "-named"
    document = ok(put(prompted, named, THREE, pool="groups"), 201)
    assert (document["pool"], document["sentence"]) == ("groups", ["a drawing of {}"])
    versions[named] = document["version"]
    inline = ok(classify(prompted, DOG, labels=THREE))
    for each, version in versions.items():
        found = ok(classify(prompted, DOG, label_set=each))
        assert found["pool"] == {"name": "groups", "version": 1}
        assert found["label_set"] == {"name": each, "version": version}
        assert scores(found) == pytest.approx(scores(inline), abs=1e-5)
        plain = ok(classify(prompted, DOG, label_set=each, pool="none"))
        assert plain["pool"] is None
        own = {"labels": THREE, "pool": "none", "sentence": "a drawing of {}"}
        expected = ok(classify(prompted, DOG, **own))
        assert scores(plain) == pytest.approx(scores(expected), abs=1e-5)


@EACH_BODY
def test_pool_none(prompted, server, name, classify):
    document = ok(put(prompted, name, THREE, pool="none"), 201)
    assert document["pool"] == "none"
    assert document["sentence"] == [DEFAULT]
    plain = ok(classify(prompted, DOG, label_set=name))
    assert plain["pool"] is None
    assert scores(plain) == pytest.approx(scores(ok(by_query(server, DOG, labels=THREE))), abs=1e-5)
    chosen = ok(classify(prompted, DOG, label_set=name, pool="groups"))
    assert chosen["pool"]["name"] == "groups"
    expected = ok(classify(prompted, DOG, labels=THREE, sentence=DEFAULT))
    assert scores(chosen) == pytest.approx(scores(expected), abs=1e-5)


def test_pool_none_without_a_pool(server, name):
    assert ok(put(server, name, THREE, pool="none"), 201)["pool"] == "none"
    assert ok(by_query(server, DOG, label_set=name))["pool"] is None


def test_pool_of_another_name(prompted, name):
    reply = put(prompted, name, THREE, pool="other")
    assert_problem(reply, 422, "invalid_labels", '"other"')
    assert send(prompted, "GET", name).status == 404


def test_own_sentence_with_the_pool(prompted, name):
    made(put(prompted, name, THREE, sentence="the {}"))
    inline = ok(by_query(prompted, DOG, labels=THREE, sentence="the {}"))
    found = ok(by_query(prompted, DOG, label_set=name, explain="true"))
    assert "explanation" in found["results"][0]
    assert scores(found) == pytest.approx(scores(inline), abs=1e-5)


def test_too_long_for_the_pool(prompted, name):
    reply = put(prompted, name, ["cat", LONG])
    assert_problem(reply, 422, "invalid_labels", f'label "{LONG[:80]}')
    assert "77" in reply.json()["detail"]
    assert send(prompted, "GET", name).status == 404
    made(put(prompted, name, ["cat"]))

    def change():
        return patch(prompted, name, add=[LONG])

    assert_refused(prompted, name, change, 422, "invalid_labels", f'label "{LONG[:80]}')
    plain = name + "-plain"
    made(put(prompted, plain, ["cat", LONG], pool="none"))
    ok(by_query(prompted, DOG, label_set=plain))
    reply = by_query(prompted, DOG, label_set=plain, pool="groups")
    assert_problem(reply, 422, "invalid_labels", f'label "{LONG[:80]}')


def test_cosines_with_the_pool_stay(prompted, name):
    made(put(prompted, name, THREE))
    before = printed_cosines(by_query(prompted, DOG, label_set=name))
    added = [f"animal {i}" for i in range(20)]
    ok(patch(prompted, name, add=added))
    after = printed_cosines(by_query(prompted, DOG, label_set=name, top_k=100))
    assert set(after) == {*THREE, *added}
    assert {label: after[label] for label in THREE} == before
