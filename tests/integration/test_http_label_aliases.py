"""Labels with aliases, {"name": ..., "aliases": [...]}: several texts that are one class."""

import itertools
import json

import pytest

from label_sets import (
    DUPLICATE,
    EACH_BODY,
    INVALID,
    LABELS,
    assert_refused,
    by_json,
    by_query,
    labels_of,
    made,
    ok,
    patch,
    put,
    send,
)
from pool_files import emoji_pool
from serving import CAT, DOG, assert_problem, serving

NUMBERS = itertools.count(1)


def alias(name, *aliases):
    return {"name": name, "aliases": list(aliases)}


PETS = [alias("dog", "puppy", "a hound"), "pizza", alias("cat", "kitten"), "red car"]


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    path = emoji_pool(tmp_path_factory.mktemp("pools") / "file.safetensors", name="groups")
    with serving("--pool", path) as running:
        yield running


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"set-{next(NUMBERS)}"


def names_of(labels):
    return [each if isinstance(each, str) else each["name"] for each in labels]


def classes_of(labels):
    """text -> the name of its class"""
    classes = {}
    for each in labels:
        item = each if isinstance(each, dict) else alias(each)
        classes.update({text: item["name"] for text in (item["name"], *item["aliases"])})
    return classes


def cosines(reply):
    (result,) = ok(reply)["results"]
    return {each["label"]: each["cosine"] for each in result["predictions"]}


def best_of(classes, found):
    """The best cosine of each class among those of texts."""
    best = {}
    for text, cosine in found.items():
        label = classes[text]
        best[label] = max(cosine, best.get(label, cosine))
    return best


def assert_as_plain(server, name, labels, classify=by_query, **options):
    """As the same texts do that are labels of their own; the number of classes in the answer."""
    plain = name + "-plain"
    assert put(server, plain, list(classes_of(labels))).status in (200, 201)
    for data in DOG, CAT:
        options = {"top_k": 100, **options}
        expected = best_of(
            classes_of(labels), cosines(classify(server, data, label_set=plain, **options))
        )
        reply = classify(server, data, label_set=name, **options)
        found = cosines(reply)
        assert found == pytest.approx(expected, abs=1e-5)
        predictions = reply.json()["results"][0]["predictions"]
        assert sum(each["score"] for each in predictions) == pytest.approx(1, abs=1e-5)
        logits = [each["logit"] for each in predictions]
        assert logits == sorted(logits, reverse=True)
        assert len(found) == len(predictions)
    return len(found)


# ---- What counts ----


@EACH_BODY
def test_a_class_has_the_best_of_its_texts(server, name, classify):
    assert ok(put(server, name, PETS), 201)["count"] == 4
    assert assert_as_plain(server, name, PETS, classify) == 4


def test_an_alias_may_be_the_best(server, name):
    labels = [alias("something", "dog", "cat"), "pizza"]
    made(put(server, name, labels))
    found = cosines(by_query(server, DOG, label_set=name))
    own = cosines(by_query(server, DOG, labels="something,dog,cat,pizza"))
    assert found["something"] > own["something"]
    assert found["something"] == pytest.approx(max(own["dog"], own["cat"]), abs=1e-5)


def test_several_pictures_and_sentences(server, name):
    made(put(server, name, PETS, sentence=["a {}", "the {} here"]))
    alone = [
        cosines(by_query(server, data, label_set=name, top_k=3)) for data in (DOG, CAT, DOG, CAT)
    ]
    reply = server.post_form(
        *(("image", data) for data in (DOG, CAT, DOG, CAT)), ("label_set", name), ("top_k", "3")
    )
    for result, expected in zip(ok(reply)["results"], alone):
        found = {each["label"]: each["cosine"] for each in result["predictions"]}
        assert found == pytest.approx(expected, abs=1e-5)
        assert len(found) == 3


def test_all_texts_are_one_class(server, name):
    made(put(server, name, [alias("dog", *(f"thing {i}" for i in range(50)))]))
    (result,) = ok(by_query(server, CAT, label_set=name, top_k=10))["results"]
    (only,) = result["predictions"]
    assert (only["label"], only["score"]) == ("dog", 1)


# ---- What is told of them ----


def test_documents(server, name):
    labels = ["ox", alias(" dog ", "puppy\n"), {"name": "hen"}, alias("cow"), alias("cat", "a")]
    document = ok(put(server, name, labels), 201)
    assert document["count"] == 5
    told = ["ox", alias("dog", "puppy"), "hen", "cow", alias("cat", "a")]
    assert labels_of(server, name) == told
    again = name + "-again"
    made(put(server, again, told))
    assert labels_of(server, again) == told
    listed = ok(server.get("/v1/label-sets"))["label_sets"]
    assert {each["name"]: each["count"] for each in listed}[name] == 5


# ---- PATCH ----


def test_add(server, name):
    version = ok(put(server, name, ["pizza", alias("cat", "kitten")]), 201)["version"]
    document = ok(patch(server, name, add=[alias("dog", "puppy", "a hound"), "red car"]))
    assert (document["version"], document["count"]) == (version + 1, 4)
    expected = ["pizza", alias("cat", "kitten"), alias("dog", "puppy", "a hound"), "red car"]
    assert labels_of(server, name) == expected
    assert_as_plain(server, name, expected)
    assert ok(patch(server, name, add=[alias("cow", "calf")]))["count"] == 5
    assert labels_of(server, name) == [*expected, alias("cow", "calf")]
    assert_as_plain(server, name, [*expected, alias("cow", "calf")])


def test_add_to_a_set_without_any(server, name):
    made(put(server, name, ["pizza", "red car"]))
    ok(patch(server, name, add=["ox", alias("dog", "puppy")]))
    expected = ["pizza", "red car", "ox", alias("dog", "puppy")]
    assert labels_of(server, name) == expected
    assert_as_plain(server, name, expected)


def test_aliases_go_with_their_name(server, name):
    made(put(server, name, PETS))
    assert ok(patch(server, name, remove=["dog"]))["count"] == 3
    expected = ["pizza", alias("cat", "kitten"), "red car"]
    assert labels_of(server, name) == expected
    assert_as_plain(server, name, expected)
    ok(patch(server, name, remove=["pizza"], add=["puppy", alias("horse", "a hound")]))
    expected = [alias("cat", "kitten"), "red car", "puppy", alias("horse", "a hound")]
    assert labels_of(server, name) == expected
    assert_as_plain(server, name, expected)
    ok(patch(server, name, remove=["cat", "horse"]))
    assert labels_of(server, name) == ["red car", "puppy"]
    assert_as_plain(server, name, ["red car", "puppy"])


def test_aliases_change_at_once(server, name):
    made(put(server, name, PETS))
    ok(patch(server, name, remove=["cat"], add=[alias("kitten", "cat")]))
    expected = [*PETS[:2], "red car", alias("kitten", "cat")]
    assert labels_of(server, name) == expected
    assert_as_plain(server, name, expected)
    ok(patch(server, name, remove=["kitten"], add=["cat"]))
    assert labels_of(server, name) == [*PETS[:2], "red car", "cat"]


def test_old_classes_keep_their_cosines(server, name):
    made(put(server, name, PETS))
    before = cosines(by_query(server, DOG, label_set=name))
    ok(patch(server, name, add=[alias(f"thing {i}", f"other {i}") for i in range(40)]))
    after = cosines(by_query(server, DOG, label_set=name, top_k=100))
    assert len(after) == 44
    assert {label: after[label] for label in before} == before


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"remove": ["kitten"]}, (*LABELS, 'no label "kitten"')),
        ({"remove": ["cat", "kitten"]}, (*LABELS, 'no label "kitten"')),
        ({"remove": names_of(PETS)}, (*LABELS, "no labels")),
        ({"remove": [alias("cat")]}, (*INVALID, '"remove": item 1')),
        ({"add": ["puppy"]}, (*DUPLICATE, '"puppy"')),
        ({"add": [alias("horse", "dog")]}, (*DUPLICATE, '"dog"')),
        ({"add": [alias("horse", "kitten")]}, (*DUPLICATE, '"kitten"')),
        ({"add": [alias("dog", "wolf")]}, (*DUPLICATE, '"dog"')),
        ({"add": [alias("horse", "foal", "foal ")]}, (*DUPLICATE, '"foal"')),
        ({"add": [alias("horse", "puppy")], "remove": ["cat"]}, (*DUPLICATE, '"puppy"')),
        ({"add": [{"aliases": ["foal"]}]}, (*INVALID, '"add": item 1')),
        ({"add": [alias("horse", "x " * 200)]}, (*LABELS, "77")),
    ],
)
def test_patches_that_are_refused(server, name, fields, expected):
    made(put(server, name, PETS))
    assert_refused(server, name, lambda: send(server, "PATCH", name, fields), *expected)


@pytest.mark.parametrize(
    "labels, expected",
    [
        ([alias("dog", "dog")], (*DUPLICATE, '"dog"')),
        ([alias("dog", "cat"), "cat"], (*DUPLICATE, '"cat"')),
        (["cat", alias("dog", " cat")], (*DUPLICATE, '"cat"')),
        ([alias("dog", "pet"), alias("cat", "pet")], (*DUPLICATE, '"pet"')),
        ([alias("dog", "pet", "pet")], (*DUPLICATE, '"pet"')),
        ([{"name": "dog", "alias": ["pet"]}], (*INVALID, '"labels": item 1')),
        ([{"name": "dog", "aliases": "pet"}], (*INVALID, '"labels": item 1')),
        ([alias("dog", 1)], (*INVALID, '"aliases"')),
        ([alias("dog", " ")], (*INVALID, '"aliases"')),
        ([alias("dog", alias("pet"))], (*INVALID, '"aliases"')),
        ([alias("dog", "x " * 200)], (*LABELS, "77")),
    ],
)
def test_puts_that_are_refused(server, name, labels, expected):
    assert_problem(put(server, name, labels), *expected)
    assert send(server, "GET", name).status == 404


def test_inline_labels_have_no_aliases(server):
    reply = by_json(server, DOG, labels=PETS)
    assert_problem(reply, *INVALID, '"labels"')


# ---- Limits ----


def test_limits_count_aliases():
    with serving("--max-set-labels", 4, "--max-set-texts", 6) as server:
        made(put(server, "a", [alias("n", "1", "2", "3")]))
        for labels in [alias("n", "1", "2", "3", "4")], [alias("n", "1", "2"), "m", "o"]:
            assert_problem(put(server, "b", labels), 422, "over_limit", "4 labels")
        for add in ["m"], [alias("m", "o")]:
            reply = patch(server, "a", add=add)
            assert reply.status == 422 and "4 labels" in reply.json()["detail"]
        ok(patch(server, "a", add=[alias("m", "1", "2", "3")], remove=["n"]))
        made(put(server, "c", [alias("n", "1"), "m"], sentence=["{}", "a {}"]))
        reply = put(server, "d", [alias("n", "1", "2"), "m"], sentence=["{}", "a {}"])
        assert_problem(reply, 422, "over_limit", "6 texts")
        reply = patch(server, "c", add=["o"])
        assert reply.status == 422 and "6 texts" in reply.json()["detail"]


# ---- With a pool ----


@EACH_BODY
def test_with_a_pool(prompted, name, classify):
    made(put(prompted, name, PETS))
    assert assert_as_plain(prompted, name, PETS, classify) == 4
    assert assert_as_plain(prompted, name, PETS, classify, pool="none") == 4


@EACH_BODY
@pytest.mark.parametrize("shortlist", [1, 2, 3, 4, 5, 6, 7, 100])
def test_shortlists_are_of_texts(prompted, name, shortlist, classify):
    """A class is on it by any of its texts, so there may be fewer classes than was asked for."""
    labels = [alias("dog", "a dog", "the dog"), alias("cat", "a cat", "the cat"), "pizza"]
    made(put(prompted, name, labels))
    found = assert_as_plain(prompted, name, labels, classify, shortlist=shortlist)
    assert 1 <= found <= min(shortlist, 3)
    assert found < 3 or shortlist > 3
    reply = classify(prompted, DOG, label_set=name, shortlist=shortlist, top_k=1)
    assert len(cosines(reply)) == 1


def test_too_long_an_alias_for_the_pool(prompted, name):
    long = "dog " * 74  # fits the model's context, but not beside the pool's prompts
    reply = put(prompted, name, ["cat", alias("dog", long)], sentence="{}")
    assert_problem(reply, *LABELS, f'label "{long[:40]}')
    made(put(prompted, name, ["cat", alias("dog", long)], sentence="{}", pool="none"))


def test_answers_are_valid_json_whatever_the_names(server, name):
    labels = [alias('"dog"\\', "猫"), "\x7f", alias("</script>", "{}")]
    made(put(server, name, labels))
    assert labels_of(server, name) == labels
    found = json.loads(by_query(server, DOG, label_set=name).body)["results"][0]["predictions"]
    assert {each["label"] for each in found} == set(names_of(labels))
