"""serve --pool: prompts chosen by the picture, over HTTP."""

import base64
import os
import re
import shutil

import pytest

from command_line import (
    MODEL,
    ROOT,
    SAMPLES,
    assert_failure,
    assert_usage,
    environment,
    run,
    run_json,
    sample_pictures,
)
from pool_files import emoji_pool
from serving import BOUNDARY, CAT, DOG, assert_problem, at_once, form, serving

LABELS = (SAMPLES / "labels-30.txt").read_text().split()
THREE = "cat,dog,pizza"
LONG = "dog " * 20 + "dog"
GOLDENS = ROOT / "tests/golden/prompted"


@pytest.fixture
def other(tmp_path):
    return tmp_path / "other.safetensors"


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return emoji_pool(tmp_path_factory.mktemp("pools") / "file.safetensors", name="groups")


@pytest.fixture(scope="module")
def server(pool):
    with serving("--pool", pool) as running:
        yield running


@pytest.fixture(scope="module")
def plain():
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def told(pool):
    """What the command line says of each sample, by its bytes."""
    return classify("--pool", pool, "--explain")


def classify(*words):
    pictures = sample_pictures()
    document = run_json("classify", "--labels-file", SAMPLES / "labels-30.txt", *words, *pictures)
    return {path.read_bytes(): result for path, result in zip(pictures, document["results"])}


def ok(reply):
    assert reply.status == 200, reply.body
    return reply.json()


def logits(result):
    return {each["label"]: each["logit"] for each in result["predictions"]}


def scores(reply):
    """Per picture: label -> logit."""
    return [logits(result) for result in ok(reply)["results"]]


def assert_near(left, right):
    assert len(left) == len(right)
    for one, another in zip(left, right):
        assert one == pytest.approx(another, abs=1e-3)


def prompts(result):
    return [layer["prompts"] for layer in result["explanation"]["layers"]]


def assert_as_told(result, expected):
    """expected: a result of the command line among LABELS."""
    assert logits(result) == pytest.approx(dict(zip(LABELS, expected["logits"])), abs=1e-3)


def picture(data):
    return {"data": base64.b64encode(data).decode()}


def send_form(server, pictures, **options):
    fields = [(name, text_of(value)) for name, value in options.items()]
    return server.post_form(*[("image", data) for data in pictures], *fields)


def send_raw(server, pictures, **options):
    (data,) = pictures
    return server.post_raw(data, **{name: text_of(value) for name, value in options.items()})


def send_json(server, pictures, **options):
    return server.post_json({"images": [picture(data) for data in pictures], **options})


def text_of(value):
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


EACH_BODY = pytest.mark.parametrize("send", [send_form, send_raw, send_json])


# ---- What it answers ----


def test_document(server):
    document = ok(server.post_raw(DOG, labels=THREE))
    assert set(document) == {"id", "model", "label_set", "pool", "results", "timings_ms"}
    assert document["pool"] == {"name": "groups", "version": 1}
    (result,) = document["results"]
    assert set(result) == {"predictions", "unknown"}
    assert len(result["predictions"]) == 3


@EACH_BODY
def test_command_line_gives_the_same(server, told, send):
    for data, expected in told.items():
        document = ok(send(server, [data], labels=LABELS, top_k=30, explain=True))
        assert document["pool"] == {"name": "groups", "version": 1}
        (result,) = document["results"]
        assert set(result) == {"predictions", "unknown", "explanation"}
        assert_as_told(result, expected)
        assert prompts(result) == expected["composition"]
        explanation = result["explanation"]
        assert explanation["margin"] == pytest.approx(expected["margin"], abs=1e-5)
        for layer, wanted in zip(explanation["layers"], expected["explanation"]["layers"]):
            assert set(layer) == set(wanted)
            assert set(layer["clusters"]) == set(wanted["clusters"])
            assert layer["clusters"]["grid"] == wanted["clusters"]["grid"]
            assert sorted(layer["clusters"]["prompt"]) == layer["prompts"]


@pytest.mark.parametrize("send", [send_form, send_json])
def test_several_pictures(server, told, send):
    """All in one request, one of which is broken."""
    pictures = list(told)
    pictures.insert(3, DOG[:200])
    results = ok(send(server, pictures, labels=LABELS, top_k=30, explain=True))["results"]
    broken = results.pop(3)
    assert set(broken) == {"error"}
    assert broken["error"]["code"] == "image_undecodable"
    assert len(results) == 12
    for result, expected in zip(results, told.values()):
        assert_as_told(result, expected)
        assert prompts(result) == expected["composition"]
    compositions = {str(prompts(result)) for result in results}
    assert len(compositions) > 1


def test_all_pictures_broken(server):
    reply = send_form(server, [DOG[:200], b"nothing"], explain=True)
    assert_problem(reply, 422, "image_undecodable")


@EACH_BODY
def test_no_explanation_unless_asked(server, send):
    for options in ({}, {"explain": False}):
        (result,) = ok(send(server, [DOG], labels=["cat"], **options))["results"]
        assert "explanation" not in result


def test_ways_to_write_a_flag(server):
    for text, explained in (("true", True), ("1", True), ("false", False), ("0", False)):
        (result,) = ok(server.post_raw(DOG, labels="cat", explain=text))["results"]
        assert ("explanation" in result) == explained


def test_threshold_and_top_k(server):
    everything = ok(server.post_raw(DOG, labels=THREE))["results"][0]["predictions"]
    middle = everything[1]["score"]
    document = ok(server.post_raw(DOG, labels=THREE, threshold=middle - 1e-6, explain=1))
    assert len(document["results"][0]["predictions"]) == 2
    document = ok(server.post_raw(DOG, labels=THREE, threshold=1, explain=1))
    assert set(document["results"][0]) == {"predictions", "unknown", "explanation"}
    assert document["results"][0]["unknown"] is True
    assert len(ok(server.post_raw(DOG, labels=THREE, top_k=1))["results"][0]["predictions"]) == 1


def test_timings(server, plain):
    for running, options, retrieves in (
        (server, {}, True),
        (server, {"pool": "none"}, False),
        (plain, {}, False),
    ):
        reply = running.post_raw(DOG, labels=THREE, **options)
        timings = ok(reply)["timings_ms"]
        header = dict(re.findall(r"(\w+);dur=([\d.]+)", reply.headers["server-timing"]))
        names = ["queue", "decode", "image", "retrieve", "text", "total"]
        assert list(timings) == names and list(header) == names
        assert float(header["retrieve"]) == pytest.approx(timings["retrieve"], abs=1e-3)
        assert (timings["retrieve"] > 0) == retrieves
        assert timings["retrieve"] <= timings["total"]


def test_logit_scale_of_the_pool(other):
    emoji_pool(other, logit_scale=0)
    with serving("--pool", other) as server:
        for options, own in (({}, True), ({"pool": "none"}, False)):
            (result,) = ok(server.post_raw(DOG, labels=THREE, **options))["results"]
            for each in result["predictions"]:
                scale = each["logit"] / each["cosine"]
                assert (scale == pytest.approx(1, rel=1e-5)) == own


# ---- Which pool ----


@EACH_BODY
def test_pool_none_is_plain(server, plain, send):
    for data in DOG, CAT:
        document = ok(send(server, [data], labels=LABELS, top_k=30, pool="none"))
        assert document["pool"] is None
        expected = ok(send(plain, [data], labels=LABELS, top_k=30))
        assert expected["pool"] is None
        assert document["results"] == expected["results"]


@EACH_BODY
def test_pool_by_its_name(server, send):
    options = {"labels": LABELS, "top_k": 30, "explain": True}
    named = ok(send(server, [DOG], pool="groups", **options))
    assert named["pool"] == {"name": "groups", "version": 1}
    assert named["results"] == ok(send(server, [DOG], **options))["results"]


@EACH_BODY
def test_unknown_pool(server, plain, send):
    for name in "other", "Groups", "x" * 64, "猫" * 21:
        reply = send(server, [DOG], pool=name)
        assert_problem(reply, 404, "not_found", f'there is no pool "{name}"')
    reply = send(plain, [DOG], pool="groups")
    assert_problem(reply, 404, "not_found", 'there is no pool "groups"')
    assert_problem(send(server, [DOG], pool="a\033\nb"), 404, "not_found")


@EACH_BODY
def test_fields_that_need_a_pool(server, plain, send):
    for name, value in (("explain", True), ("shortlist", 5)):
        reply = send(server, [DOG], pool="none", **{name: value})
        assert_problem(reply, 422, "invalid_field", f'"{name}"')
        reply = send(plain, [DOG], **{name: value})
        assert_problem(reply, 422, "invalid_field", f'"{name}"')
    ok(send(plain, [DOG], labels=["cat"], explain=False, shortlist=0, pool="none"))


def test_pool_of_the_environment(pool, server, other):
    changes = {"ATTRIPROMPT_POOL": str(pool)}
    with serving(env=environment(**changes)) as running:
        document = ok(running.post_raw(DOG, labels=THREE))
        assert document["pool"]["name"] == "groups"
    emoji_pool(other)
    with serving("--pool", other, env=environment(**changes)) as running:
        document = ok(running.post_raw(DOG, labels=THREE))
        assert document["pool"]["name"] == "other"
        assert document["results"] == ok(server.post_raw(DOG, labels=THREE))["results"]


@pytest.mark.parametrize(
    "stem, expected",
    [
        ("x" + "é" * 40, "x-"),
        (b"caf\xe9", "caf-"),
        ("a b  c.d", "a-b-c.d"),
        ("y" * 70, "y" * 64),
        ("z" * 40 + "éé" + "z", "z" * 40 + "-z"),
        ("{}%", "-"),
        ("a.safetensors", "a.safetensors"),
    ],
)
def test_name_of_a_file(tmp_path, stem, expected):
    """It stands in for the pool's own, which has none; names are what paths may have."""
    file = os.path.join(os.fsencode(tmp_path), os.fsencode(stem) + b".safetensors")
    emoji_pool(file)
    with serving("--pool", os.fsdecode(file)) as server:
        document = ok(server.post_raw(DOG, labels=THREE, pool=expected))
        assert document["pool"] == {"name": expected, "version": 1}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("n\033]0;x\a\nlistening on nothing", "n-0-x-listening-on-nothing"),
        (" groups of birds ", "-groups-of-birds-"),
        ("猫", "-"),
        ("w" * 64, "w" * 64),
        ("none.", "none."),
    ],
)
def test_a_name_cannot_steer_the_terminal(other, name, expected):
    emoji_pool(other, name=name)
    with serving("--pool", other) as server:
        assert ok(server.post_raw(DOG, labels=THREE, pool=expected))["pool"]["name"] == expected
        log = server.read_errors()
    assert "\033" not in log and "\a" not in log
    assert not [line for line in log.splitlines() if line.startswith("listening")]


# ---- Shortlists ----


@EACH_BODY
def test_shortlist(server, told, send):
    document = ok(send(server, [DOG], labels=LABELS, top_k=30, shortlist=5, explain=True))
    (result,) = document["results"]
    expected = dict(zip(LABELS, told[DOG]["logits"]))
    found = logits(result)
    assert len(found) == 5
    assert found == pytest.approx({label: expected[label] for label in found}, abs=1e-3)
    assert sum(each["score"] for each in result["predictions"]) == pytest.approx(1, abs=1e-5)
    assert prompts(result) == told[DOG]["composition"]

    exact = ok(send(server, [DOG], labels=LABELS, top_k=30))["results"]
    for count in 0, 30, 10**15:
        options = {"labels": LABELS, "top_k": 30, "shortlist": count}
        assert ok(send(server, [DOG], **options))["results"] == exact


def test_shortlist_keeps_what_is_best_without_it(server, plain):
    best = ok(plain.post_raw(CAT, labels=",".join(LABELS), top_k=5))["results"][0]
    (result,) = ok(server.post_raw(CAT, labels=",".join(LABELS), shortlist=5))["results"]
    assert set(logits(result)) == set(logits(best))


def test_shortlist_of_several_pictures(server, told):
    results = ok(send_form(server, list(told), labels=LABELS, top_k=30, shortlist=7))["results"]
    for result, expected in zip(results, told.values()):
        full = dict(zip(LABELS, expected["logits"]))
        found = logits(result)
        assert len(found) == 7
        assert found == pytest.approx({label: full[label] for label in found}, abs=1e-3)


# ---- Labels ----


def test_default_labels(other):
    """labels.txt in the pool's sentence, and in CLIP's without the pool."""
    sentence = "an emoji of {}, large"
    emoji_pool(other, sentence=sentence)
    file = SAMPLES / "dog.png"
    top = ("--top-k", "9", file)
    cases = [
        ({}, run_json("classify", "--pool", other, *top)),
        ({"sentence": "{}"}, run_json("classify", "--pool", other, "--sentence", "{}", *top)),
        ({"pool": "none"}, run_json("classify", *top)),
        (
            {"pool": "none", "sentence": sentence},
            run_json("classify", "--sentence", sentence, *top),
        ),
    ]
    with serving("--pool", other) as server:
        for options, expected in cases * 2:
            (found,) = scores(server.post_raw(DOG, top_k=9, **options))
            (wanted,) = expected["results"]
            assert found == pytest.approx(logits(wanted), abs=1e-3)
        given = scores(server.post_raw(DOG, labels=THREE))
        assert_near(given, scores(server.post_raw(DOG, labels=THREE, sentence=sentence)))
        others = scores(server.post_raw(DOG, labels=THREE, sentence="a photo of a {}."))
        assert given[0] != pytest.approx(others[0], abs=1e-3)
    assert len({str(expected["results"]) for _, expected in cases}) == 4


def test_a_label_that_is_too_long_for_the_pool(other):
    emoji_pool(other, tokens=4, per_cluster=4)
    with serving("--pool", other) as server:
        for send in send_form, send_raw, send_json:
            reply = send(server, [DOG], labels=["cat", LONG])
            assert_problem(reply, 422, "invalid_labels", f'label "{LONG[:80]}')
            ok(send(server, [DOG], labels=["cat", LONG], pool="none"))
            assert_problem(send(server, [DOG], labels=["cat", LONG]), 422, "invalid_labels", "77")
            ok(send(server, [DOG], labels=["cat", "dog"]))


def test_a_model_without_labels(tmp_path, pool):
    leave_out = shutil.ignore_patterns("make", "samples", "labels.txt")
    folder = shutil.copytree(MODEL, tmp_path / "mine", ignore=leave_out)
    with serving("--model", folder, "--pool", pool) as server:
        assert_problem(server.post_raw(DOG), 422, "invalid_field", '"labels"')
        ok(server.post_raw(DOG, labels="cat"))


# ---- What it refuses ----


@pytest.mark.parametrize(
    "name, value",
    [
        ("explain", "maybe"),
        ("explain", ""),
        ("explain", "TRUE"),
        ("explain", "1" * 100),
        ("shortlist", "-1"),
        ("shortlist", "x"),
        ("shortlist", ""),
        ("shortlist", "1.5"),
        ("shortlist", "1" * 30),
        ("pool", ""),
        ("pool", "x" * 65),
        ("pool", "é" * 33),
        ("pool", b"\xff"),
    ],
)
def test_invalid_field_in_query_and_form(server, name, value):
    reply = server.post_raw(DOG, labels=THREE, **{name: value})
    assert_problem(reply, 422, "invalid_field", f'"{name}"')
    if isinstance(value, str):
        reply = server.post_form(("image", DOG), ("labels", THREE), (name, value))
        assert_problem(reply, 422, "invalid_field", f'"{name}"')


def test_nul_in_a_field(server):
    for name, value in (("explain", "1\0"), ("shortlist", "1\0"), ("pool", "groups\0")):
        reply = server.post_form(("image", DOG), (name, value))
        assert_problem(reply, 422, "invalid_field", f'"{name}"')
        reply = server.post_raw(DOG, **{name: value})
        assert_problem(reply, 422, "invalid_field", f'"{name}"')


@pytest.mark.parametrize(
    "name, value",
    [
        ("explain", "true"),
        ("explain", 1),
        ("explain", None),
        ("shortlist", "5"),
        ("shortlist", "x"),
        ("shortlist", -1),
        ("shortlist", 1.5),
        ("shortlist", True),
        ("shortlist", None),
        ("shortlist", [5]),
        ("pool", ""),
        ("pool", "x" * 65),
        ("pool", 5),
        ("pool", None),
        ("pool", ["groups"]),
        ("pool", {"name": "groups"}),
    ],
)
def test_invalid_field_in_json(server, name, value):
    reply = server.post_json({"images": [picture(DOG)], "labels": ["cat"], name: value})
    assert_problem(reply, 422, "invalid_field", f'"{name}"')


@pytest.mark.parametrize(
    "name, values",
    [
        ("explain", ("true", "true")),
        ("explain", ("false", "true")),
        ("shortlist", ("0", "0")),
        ("shortlist", ("5", "6")),
        ("pool", ("none", "none")),
        ("pool", ("groups", "none")),
    ],
)
def test_a_field_given_twice(server, name, values):
    part = f'"{name}" is given twice'
    reply = server.post_raw(DOG, **{name: list(values)})
    assert_problem(reply, 422, "invalid_field", part)
    reply = server.post_form(("image", DOG), *[(name, value) for value in values])
    assert_problem(reply, 422, "invalid_field", part)

    path = f"/v1/classify?{name}={values[0]}"
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    body = form(("image", DOG), (name, values[1]))
    assert_problem(server.request("POST", path, body, kind), 422, "invalid_field", part)

    value = f'"{values[1]}"' if name == "pool" else values[1]
    kind = {"Content-Type": "application/json"}
    reply = server.request("POST", path, f'{{"{name}":{value}}}', kind)
    assert_problem(reply, 422, "invalid_field", part)
    reply = server.post_json(f'{{"{name}":{value},"{name}":{value}}}')
    assert_problem(reply, 400, "malformed_body", "duplicate")


def test_fields_of_the_query_go_with_any_body(server):
    """As the others do."""
    path = "/v1/classify?explain=true&shortlist=2&pool=groups"
    kind = {"Content-Type": "application/json"}
    text = f'{{"images":[{{"data":"{picture(DOG)["data"]}"}}],"labels":["cat","dog","pizza"]}}'
    (result,) = ok(server.request("POST", path, text, kind))["results"]
    assert len(result["predictions"]) == 2
    assert "explanation" in result


# ---- Many clients, and the cache ----


def mixed_requests():
    """Functions that send to a server, of every kind."""
    samples = [path.read_bytes() for path in sample_pictures()]
    options = [
        {"labels": LABELS, "top_k": 30, "explain": True},
        {"labels": LABELS[:7], "pool": "none"},
        {"labels": LABELS[5:], "top_k": 30, "pool": "groups"},
        {"labels": LABELS, "top_k": 30, "shortlist": 6},
        {"labels": LABELS[::-1], "top_k": 30, "sentence": "{}"},
        {"pool": "none", "top_k": 9},
        {"top_k": 9},
    ]
    requests = []
    for i in range(21):
        send = (send_form, send_raw, send_json)[i % 3]
        count = 1 if send == send_raw else 1 + i % 4
        pictures = [samples[(i + j) % 12] for j in range(count)]
        requests.append((send, pictures, options[i % len(options)]))
    return requests


@pytest.mark.parametrize("cache_bytes", [None, 100000, 0])
def test_many_clients(server, pool, cache_bytes):
    """Each reply is what a client alone gets."""
    requests = mixed_requests()
    expected = [ok(send(server, data, **options)) for send, data, options in requests]
    words = [] if cache_bytes is None else ["--composition-cache-bytes", cache_bytes]
    with serving("--pool", pool, "--threads", 2, *words) as busy:

        def work(client):
            order = requests[client * 5 :] + requests[: client * 5]
            return [ok(send(busy, data, **options)) for send, data, options in order]

        for client, replies in enumerate(at_once(4, work)):
            wanted = expected[client * 5 :] + expected[: client * 5]
            for reply, answer in zip(replies, wanted):
                assert reply["pool"] == answer["pool"]
                assert len(reply["results"]) == len(answer["results"])
                for result, alone in zip(reply["results"], answer["results"]):
                    assert logits(result) == pytest.approx(logits(alone), abs=1e-3)
                    assert ("explanation" in result) == ("explanation" in alone)
                    if "explanation" in alone:
                        assert prompts(result) == prompts(alone)


def test_the_cache_does_not_change_a_number(server, pool, told):
    options = {"labels": LABELS, "top_k": 30, "explain": True}
    with serving("--pool", pool, "--composition-cache-bytes", 0) as forgetful:
        for data in list(told) * 2:
            answers = [ok(send_raw(each, [data], **options)) for each in (server, forgetful)]
            assert answers[0]["results"] == answers[1]["results"]


# ---- Servers that do not start ----


def serve(*words, **options):
    return run("serve", "--port", "0", "--model", MODEL, *words, **options)


def test_a_pool_that_does_not_fit(other):
    golden = GOLDENS / "even/plain.pool.safetensors"
    part = f'{golden}: pool "plain": the last dimension of pool.values'
    assert_failure(serve("--pool", golden), "serve", part)
    emoji_pool(other, text_blocks=5)
    part = f'{other}: pool "other": the first dimension of query_mean is 5'
    assert_failure(serve("--pool", other), "serve", part)
    emoji_pool(other, prompts=80, per_cluster=19)
    assert_failure(serve("--pool", other), "serve", "context of 77 tokens")


def test_a_pool_that_leaves_no_room_for_the_default_labels(other):
    emoji_pool(other, prompts=72, per_cluster=18)
    part = f'{other}: pool "other": the model\'s own labels: label '
    assert_failure(serve("--pool", other), "serve", part)


def test_a_pool_called_none(tmp_path, other):
    for file in emoji_pool(other, name="none"), emoji_pool(tmp_path / "none.safetensors"):
        done = serve("--pool", file)
        assert_failure(done, "serve", f"{file}: a pool cannot be called none")
        assert done.stdout == b""


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_clients_take_out_of_a_path(other, name):
    done = serve("--pool", emoji_pool(other, name=name))
    assert_failure(done, "serve", f'{other}: the name "{name}" must be')


def test_files_that_are_no_pool(tmp_path, other):
    assert_failure(serve("--pool", tmp_path / "no"), "serve", "No such file")
    assert_failure(serve("--pool", tmp_path), "serve", "regular file")
    other.write_bytes(DOG)
    assert_failure(serve("--pool", other), "serve", "not a safetensors file")


def test_fingerprint(other):
    emoji_pool(other, model_fingerprint="0" * 64)
    for words in ((), ("--pool-fingerprint", "match")):
        assert_failure(serve("--pool", other, *words), "serve", '"model_fingerprint"')
    done = serve("--pool", other, env=environment(ATTRIPROMPT_POOL_FINGERPRINT="match"))
    assert_failure(done, "serve", '"model_fingerprint"')
    with serving("--pool", other, "--pool-fingerprint", "any") as server:
        assert ok(server.post_raw(DOG, labels=THREE))["pool"]["name"] == "other"


@pytest.mark.parametrize(
    "words, part",
    [
        (["--pool"], "--pool"),
        (["--pool", ""], "--pool"),
        (["--pool-fingerprint", "maybe"], "match, any"),
        (["--composition-cache-bytes", "-1"], "--composition-cache-bytes"),
        (["--composition-cache-bytes", "much"], "--composition-cache-bytes"),
        (["--composition-cache-bytes", str((64 << 30) + 1)], "--composition-cache-bytes"),
    ],
)
def test_usage(words, part):
    assert_usage(run("serve", *words), "serve", part)


def test_help():
    text = run("serve", "--help").stdout.decode()
    for option in "pool", "pool-fingerprint", "composition-cache-bytes":
        assert f"\n  --{option} " in text
        assert "ATTRIPROMPT_" + option.upper().replace("-", "_") in text
