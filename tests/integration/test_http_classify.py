import base64
import struct
import zlib

import pytest

from command_line import MODEL, SAMPLES, run_json
from serving import BOUNDARY, CAT, DOG, assert_problem, form, serving

LABELS = ["cat", "dog", "pizza"]


@pytest.fixture(scope="module")
def server():
    options = ["--max-images-per-request", 4, "--max-labels", 100, "--max-image-pixels", 1000000]
    with serving(*options) as running:
        yield running


def picture(data):
    return {"data": base64.b64encode(data).decode()}


def ok(reply):
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/json"
    return reply.json()


def scores(reply):
    """Per picture: label -> score."""
    results = ok(reply)["results"]
    return [{p["label"]: p["score"] for p in result["predictions"]} for result in results]


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right):
        assert one == pytest.approx(other, abs=1e-6)


# ---- What it answers ----


def test_document(server):
    document = ok(server.post_form(("image", DOG), ("labels", "cat, dog,pizza"), ("top_k", "2")))
    assert set(document) == {"id", "model", "label_set", "pool", "results", "timings_ms"}
    assert document["id"].startswith("req-")
    assert document["model"] == MODEL.name
    assert document["pool"] is None
    assert set(document["timings_ms"]) == {
        "queue",
        "decode",
        "image",
        "retrieve",
        "text",
        "total",
    }
    (result,) = document["results"]
    assert set(result) == {"predictions", "unknown"}
    assert result["unknown"] is False
    first, second = result["predictions"]
    assert set(first) == {"label", "score", "logit", "cosine"}
    assert first["score"] >= second["score"]
    assert first["logit"] >= second["logit"]
    assert first["logit"] / first["cosine"] == pytest.approx(second["logit"] / second["cosine"])


def test_three_bodies_give_the_same_scores(server):
    raw = scores(server.post_raw(DOG, labels="cat,dog,pizza"))
    assert set(raw[0]) == set(LABELS)
    assert sum(raw[0].values()) == pytest.approx(1)
    assert_same(raw, scores(server.post_form(("image", DOG), ("labels", "cat,dog,pizza"))))
    assert_same(raw, scores(server.post_json({"images": [picture(DOG)], "labels": LABELS})))
    uri = {"data": "data:image/png;base64," + picture(DOG)["data"]}
    assert_same(raw, scores(server.post_json({"images": [uri], "labels": LABELS})))
    stream = scores(server.post_raw(DOG, "application/octet-stream", labels="cat,dog,pizza"))
    assert_same(raw, stream)


def test_command_line_gives_the_same_scores(server):
    document = run_json("classify", "--labels", "cat,dog,pizza", SAMPLES / "dog.png")
    served = scores(server.post_raw(DOG, labels="cat,dog,pizza"))[0]
    told = dict(zip(document["labels"], document["results"][0]["probabilities"]))
    assert served == pytest.approx(told, abs=1e-5)


def test_several_pictures_keep_their_order(server):
    both = scores(server.post_form(("image", DOG), ("image", CAT), ("labels", "cat,dog,pizza")))
    assert len(both) == 2
    assert_same(both[:1], scores(server.post_raw(DOG, labels="cat,dog,pizza")))
    assert_same(both[1:], scores(server.post_raw(CAT, "image/jpeg", labels="cat,dog,pizza")))


def test_more_pictures_than_a_batch_holds():
    with serving("--max-batch-rows", 2) as server:
        pictures = [DOG, CAT, DOG, CAT, CAT]
        found = scores(server.post_form(*[("image", p) for p in pictures], ("labels", "cat,dog")))
        assert_same(found, [found[0], found[1], found[0], found[1], found[1]])
        assert found[0] != pytest.approx(found[1], abs=1e-6)


def test_default_labels(server):
    names = (MODEL / "labels.txt").read_text().split("\n")
    result = ok(server.post_raw(DOG))["results"][0]
    assert len(result["predictions"]) == 5
    assert all(prediction["label"] in names for prediction in result["predictions"])


def test_sentence_changes_scores_and_applies_to_default_labels(server):
    plain = scores(server.post_raw(DOG, labels="cat,dog,pizza"))
    same = scores(server.post_raw(DOG, labels="cat,dog,pizza", sentence="a photo of a {}."))
    other = scores(server.post_raw(DOG, labels="cat,dog,pizza", sentence="{}"))
    assert_same(plain, same)
    assert other[0] != pytest.approx(plain[0], abs=1e-6)
    several = {"images": [picture(DOG)], "labels": LABELS, "sentence": ["{}", "a photo of a {}."]}
    averaged = scores(server.post_json(several))
    assert averaged[0] != pytest.approx(plain[0], abs=1e-6)
    form_fields = [("image", DOG), ("labels", "cat,dog"), ("labels", "pizza"), ("sentence", "{}")]
    twice = scores(server.post_form(*form_fields, ("sentence", "a photo of a {}.")))
    assert_same(averaged, twice)
    assert len(scores(server.post_raw(DOG, sentence="an emoji of {}"))[0]) == 5


def test_threshold_leaves_out_and_says_unknown(server):
    everything = scores(server.post_raw(DOG, labels="cat,dog,pizza"))[0]
    middle = sorted(everything.values())[1]
    kept = scores(server.post_raw(DOG, labels="cat,dog,pizza", threshold=middle - 1e-6))[0]
    assert len(kept) == 2
    none = ok(server.post_raw(DOG, labels="cat,dog,pizza", threshold=1))["results"][0]
    assert none == {"predictions": [], "unknown": True}


def test_top_k_beyond_the_labels(server):
    assert len(scores(server.post_raw(DOG, labels="cat,dog", top_k=1000))[0]) == 2


def test_options_in_the_query_go_with_any_body(server):
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    path = "/v1/classify?labels=cat,dog&top_k=1"
    reply = server.request("POST", path, form(("image", DOG)), kind)
    assert len(scores(reply)[0]) == 1


def test_priority_changes_no_score(server):
    plain = scores(server.post_raw(DOG, labels="cat,dog,pizza"))
    for value in "low", "normal":
        fields = [("image", DOG), ("labels", "cat,dog,pizza"), ("priority", value)]
        document = {"images": [picture(DOG)], "labels": LABELS, "priority": value}
        assert_same(plain, scores(server.post_raw(DOG, labels="cat,dog,pizza", priority=value)))
        assert_same(plain, scores(server.post_form(*fields)))
        assert_same(plain, scores(server.post_json(document)))


def test_one_bad_picture_fails_only_itself(server):
    reply = server.post_form(("image", b"no picture"), ("image", DOG), ("labels", "cat,dog,pizza"))
    bad, good = ok(reply)["results"]
    assert set(bad) == {"error"}
    assert bad["error"]["status"] == 415
    assert bad["error"]["code"] == "image_unsupported"
    assert len(good["predictions"]) == 3
    images = [picture(DOG), {"data": "*"}]
    good, bad = ok(server.post_json({"images": images, "labels": LABELS}))["results"]
    assert len(good["predictions"]) == 3
    assert bad["error"]["status"] == 422


# ---- What it refuses ----


def test_all_pictures_bad(server):
    assert_problem(server.post_raw(b"GIF89a......"), 415, "image_unsupported", "GIF")
    assert_problem(server.post_raw(DOG[:200]), 422, "image_undecodable")
    assert_problem(server.post_raw(b""), 422, "image_undecodable", "empty")
    reply = server.post_form(("image", CAT[:300]), ("image", b"nothing"))
    assert_problem(reply, 422, "image_undecodable")


def test_too_many_pixels(server):
    header = b"IHDR" + struct.pack(">IIBBBBB", 65536, 65536, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    picture = start + struct.pack(">I", zlib.crc32(header)) + struct.pack(">I", 100) + b"IDATxxxx"
    assert_problem(server.post_raw(picture), 413, "image_too_large", "1000000")


def test_type_of_the_body(server):
    assert_problem(server.post_raw(DOG, "text/plain"), 415, "unsupported_body", "text/plain")
    reply = server.request("POST", "/v1/classify", DOG)
    assert_problem(reply, 415, "unsupported_body", "missing")
    long = "multipart/form-data; boundary=x; padding=" + "y" * 300
    assert_problem(server.post_raw(DOG, long), 415, "unsupported_body")


@pytest.mark.parametrize(
    "text, part",
    [
        ("{", "line 1, column 1"),
        ('{"images":[],\n "labels":}', "line 2, column"),
        ('{"top_k":1,"top_k":2}', "duplicate"),
        ("", "line"),
    ],
)
def test_malformed_json(server, text, part):
    assert_problem(server.post_json(text), 400, "malformed_body", part)


@pytest.mark.parametrize(
    "change, part",
    [
        ({"label": LABELS}, '"label"'),
        ({"labels": "cat,dog"}, '"labels"'),
        ({"labels": []}, '"labels"'),
        ({"labels": ["cat", 1]}, "item 2"),
        ({"labels": ["cat", " "]}, "item 2"),
        ({"sentence": 5}, '"sentence"'),
        ({"top_k": 0}, '"top_k"'),
        ({"top_k": 1.5}, '"top_k"'),
        ({"top_k": "5"}, '"top_k"'),
        ({"threshold": 2}, '"threshold"'),
        ({"threshold": "high"}, '"threshold"'),
        ({"timeout_ms": -1}, '"timeout_ms"'),
        ({"timeout_ms": 10**9}, '"timeout_ms"'),
        ({"priority": "high"}, '"priority" must be "normal" or "low"'),
        ({"priority": 1}, '"priority" must be "normal" or "low"'),
        ({"images": {}}, '"images"'),
        ({"images": []}, "no picture"),
        ({"images": ["text"]}, "item 1"),
        ({"images": [{"data": "", "url": "http://x"}]}, "item 1"),
    ],
)
def test_invalid_field(server, change, part):
    document = {"images": [picture(DOG)], "labels": LABELS, **change}
    assert_problem(server.post_json(document), 422, "invalid_field", part)


def test_invalid_field_in_form_and_query(server):
    reply = server.post_form(("image", DOG), ("lables", "cat,dog"))
    assert_problem(reply, 422, "invalid_field", '"lables"')
    assert_problem(server.post_raw(DOG, topk=3), 422, "invalid_field", '"topk"')
    assert_problem(server.post_raw(DOG, top_k="3x"), 422, "invalid_field", '"top_k"')
    assert_problem(server.post_raw(DOG, threshold="nan"), 422, "invalid_field", '"threshold"')
    assert_problem(server.post_raw(DOG, top_k=[1, 2]), 422, "invalid_field", "twice")
    assert_problem(server.post_raw(DOG, labels="cat,,dog"), 422, "invalid_field", "item 2")
    assert_problem(server.post_raw(DOG, priority="high"), 422, "invalid_field", '"low"')
    reply = server.post_form(("image", DOG), ("priority", ""))
    assert_problem(reply, 422, "invalid_field", '"priority"')
    reply = server.post_raw(DOG, labels=b"\xff\xfe")
    assert_problem(reply, 422, "invalid_field", "UTF-8")


def test_nul_in_a_field(server):
    for name in "labels", "top_k", "threshold":
        reply = server.post_form(("image", DOG), (name, "1\0"))
        assert_problem(reply, 422, "invalid_field", f'"{name}"')
    reply = server.post_raw(DOG, labels="cat\0dog")
    assert_problem(reply, 422, "invalid_field", '"labels" holds a NUL')
    reply = server.post_raw(DOG, labels="cat,dog", top_k="1\0")
    assert_problem(reply, 422, "invalid_field", '"top_k" holds a NUL')
    reply = server.post_raw(DOG, labels="/\0")
    assert_problem(reply, 422, "invalid_field", '"labels" holds a NUL')
    reply = server.post_raw(DOG, **{"labels\0": "cat"})
    assert_problem(reply, 422, "invalid_field", "name of a field")


def test_a_list_comes_in_one_place(server):
    body = form(("image", DOG), ("labels", "dog"), ("sentence", "{}"))
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    for name, value in (("labels", "cat"), ("sentence", "a%20{}")):
        reply = server.request("POST", f"/v1/classify?{name}={value}", body, kind)
        assert_problem(reply, 422, "invalid_field", f'"{name}" is given in the query and the body')


def test_invalid_labels(server):
    assert_problem(server.post_raw(DOG, labels="cat,dog,cat"), 422, "invalid_labels", "cat")
    reply = server.post_raw(DOG, labels="cat,dog", sentence="no place")
    assert_problem(reply, 422, "invalid_labels", "no place")
    reply = server.post_raw(DOG, labels="word " * 200)
    assert_problem(reply, 422, "invalid_labels")


def test_limits(server):
    many = ",".join(f"label {i}" for i in range(101))
    assert_problem(server.post_form(("image", DOG), ("labels", many)), 422, "over_limit", "100")
    assert_problem(server.post_form(*[("image", DOG)] * 5), 422, "over_limit", "4 images")
    crowd = '{"images":[' + "0," * 100000 + "0]}"
    assert_problem(server.post_json(crowd), 422, "over_limit", "values")


@pytest.mark.parametrize(
    "kind, body, part",
    [
        ("multipart/form-data", b"", "boundary"),
        ("multipart/form-data; boundary=x", b"--y\r\n", "cut short"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nabc\r\n--x--", "no name"),
        ("multipart/form-data; boundary=x", b"--x", "not ended"),
        (f"multipart/form-data; boundary={BOUNDARY}", form(("image", DOG))[:-40], "cut short"),
    ],
)
def test_malformed_form(server, kind, body, part):
    reply = server.request("POST", "/v1/classify", body, {"Content-Type": kind})
    assert_problem(reply, 400, "malformed_body", part)
