"""Registers label sets and classifies with them, over HTTP."""

import base64
import json

import pytest

from serving import assert_problem

JSON = {"Content-Type": "application/json"}
THREE = ["cat", "dog", "pizza"]
INVALID = 422, "invalid_field"
LABELS = 422, "invalid_labels"
DUPLICATE = 409, "duplicate_labels"
PRECONDITION = "precondition_failed"


def send(server, method, name, document=None, **headers):
    """Headers as keywords: If_Match. A document is sent as JSON, unless it is text already."""
    ready = document is None or isinstance(document, (str, bytes))
    body = document if ready else json.dumps(document)
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    kind = JSON if body is not None else {}
    return server.request(method, f"/v1/label-sets/{name}", body, {**kind, **given})


def put(server, name, labels, *, headers=None, **fields):
    return send(server, "PUT", name, {"labels": labels, **fields}, **(headers or {}))


def patch(server, name, *, headers=None, **fields):
    return send(server, "PATCH", name, fields, **(headers or {}))


def ok(reply, status=200):
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    return reply.json()


def made(reply):
    ok(reply, 201)
    return reply.headers["etag"]


def version_of(reply):
    """The version that a PUT or PATCH made."""
    return reply.json()["version"]


def labels_of(server, name):
    document = ok(send(server, "GET", name))
    assert document["count"] == len(document["labels"])
    return document["labels"]


def picture(data):
    return {"data": base64.b64encode(data).decode()}


def by_form(server, data, **fields):
    texts = [(key, ",".join(v) if isinstance(v, list) else str(v)) for key, v in fields.items()]
    return server.post_form(("image", data), *texts)


def by_query(server, data, **fields):
    return server.post_raw(
        data, **{key: ",".join(v) if isinstance(v, list) else v for key, v in fields.items()}
    )


def by_json(server, data, **fields):
    return server.post_json({"images": [picture(data)], **fields})


EACH_BODY = pytest.mark.parametrize("classify", [by_form, by_query, by_json])


def scores(document):
    (result,) = document["results"]
    return {each["label"]: each["score"] for each in result["predictions"]}


def printed_cosines(reply):
    """label -> cosine, as it is written in the answer."""
    assert reply.status == 200, reply.body
    (result,) = json.loads(reply.body, parse_float=str)["results"]
    return {each["label"]: each["cosine"] for each in result["predictions"]}


def assert_refused(server, name, change, status, code, *parts):
    """The change is refused and leaves the set as it was."""
    before = send(server, "GET", name)
    reply = change()
    for part in parts:
        assert_problem(reply, status, code, part)
    after = send(server, "GET", name)
    assert after.body == before.body
    assert after.headers.get("etag") == before.headers.get("etag")
