"""The sample pictures over HTTP: right as often as on the command line, with the same scores."""

import base64

import pytest

from command_line import SAMPLES, run_json
from serving import serving

LABELS_FILE = SAMPLES / "labels-30.txt"
LABELS = LABELS_FILE.read_text().split()
PICTURES = sorted(p for p in SAMPLES.iterdir() if p.suffix in (".png", ".jpg"))
ENOUGH = 10


@pytest.fixture(scope="module")
def told():
    """Picture -> label -> probability, from the command line."""
    document = run_json("classify", "--labels-file", LABELS_FILE, *PICTURES)
    return {
        picture: dict(zip(document["labels"], result["probabilities"]))
        for picture, result in zip(PICTURES, document["results"])
    }


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def send_form(server, data):
    return server.post_form(("image", data), ("labels", ",".join(LABELS)), ("top_k", "30"))


def send_raw(server, data):
    return server.post_raw(data, labels=",".join(LABELS), top_k=30)


def send_json(server, data):
    image = {"data": base64.b64encode(data).decode()}
    return server.post_json({"images": [image], "labels": LABELS, "top_k": 30})


@pytest.mark.parametrize("send", [send_form, send_raw, send_json])
def test_samples(server, told, send):
    assert len(PICTURES) == 12 and len(LABELS) == 30
    right = []
    for picture in PICTURES:
        reply = send(server, picture.read_bytes())
        assert reply.status == 200, reply.body
        (result,) = reply.json()["results"]
        served = {p["label"]: p["score"] for p in result["predictions"]}
        assert served == pytest.approx(told[picture], abs=1e-5)
        if result["predictions"][0]["label"] == picture.stem:
            right.append(picture.stem)
    assert len(right) >= ENOUGH, right
