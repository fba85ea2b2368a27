"""Every kind of picture over HTTP: see tests/golden/make_zoo.py.

Slow builds try some of each; the unit tests decode all of them in every build.
"""

import base64
import io

import pytest
from PIL import Image, ImageOps

from command_line import ROOT, SAMPLES, assert_usage, run, run_json
from hostile import FEWER, MIB, bounded_memory
from png import png_of_one_colour
from serving import BOUNDARY, DOG, assert_problem, serving

ZOO = ROOT / "tests/golden/zoo"
KINDS = ROOT / "tests/golden/pictures"
CODES = {413: "image_too_large", 415: "image_unsupported", 422: "image_undecodable"}
SMALL = 16 * MIB  # what a refusal may take
STEP = 997


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def read_list(folder, name="list.txt"):
    lines = (folder / name).read_text().splitlines()
    return [line.split(" ", 2) for line in lines]


def classify(server, data):
    return server.post_raw(data, labels="cat,dog")


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def scores(result):
    return {each["label"]: each["score"] for each in result["predictions"]}


def post_pictures(server, pictures):
    """The results of as many pictures as a request may have."""
    fields = [("labels", "cat,dog")] + [("image", picture) for picture in pictures]
    reply = server.post_form(*fields)
    assert reply.status == 200, reply.body
    results = reply.json()["results"]
    assert len(results) == len(pictures)
    return results


@pytest.mark.parametrize("folder", [ZOO, KINDS], ids=["zoo", "kinds"])
def test_whole_pictures_are_classified(server, folder):
    names = [name for name, *_ in read_list(folder)]
    assert len(names) > 60
    names = names[::FEWER]
    for first in range(0, len(names), 32):
        batch = names[first : first + 32]
        results = post_pictures(server, [(folder / name).read_bytes() for name in batch])
        for name, result in zip(batch, results):
            assert len(result["predictions"]) == 2, (name, result)


def test_webp_comes_in_every_way(server):
    data = (ZOO / "lossy-alpha.webp").read_bytes()
    uri = "data:image/webp;base64," + base64.b64encode(data).decode()
    replies = [
        server.post_raw(data, "image/webp", labels="cat,dog"),
        server.post_form(("labels", "cat,dog"), ("image", data)),
        server.post_json({"labels": ["cat", "dog"], "images": [{"data": uri}]}),
    ]
    first, *others = [scores(reply.json()["results"][0]) for reply in replies]
    for other in others:
        assert other == pytest.approx(first, rel=1e-5)


def test_orientation_is_honoured(server):
    """A picture that was turned beforehand gets the scores that its EXIF data gets it."""
    dog = Image.open(SAMPLES / "dog.png")
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        told = saved(dog, "PNG", exif=exif)
        turned = saved(ImageOps.exif_transpose(Image.open(io.BytesIO(told))), "PNG")
        plain, ours, theirs = post_pictures(server, [DOG, told, turned])
        assert scores(ours) == pytest.approx(scores(theirs), rel=1e-5)
        assert (turn == 1) == (scores(ours) == pytest.approx(scores(plain), rel=1e-3))


def test_refusals_are_as_documented(server):
    listed = read_list(ZOO, "refused.txt")
    assert len(listed) > 60
    for name, status, part in listed[::FEWER]:
        reply = classify(server, (ZOO / name).read_bytes())
        assert_problem(reply, int(status), CODES[int(status)], part)


def test_command_line_says_the_same():
    listed = read_list(ZOO, "refused.txt")
    paths = [ZOO / name for name, *_ in listed]
    document = run_json("classify", "--labels", "cat,dog", *paths, code=1)
    for result, (_, _, part) in zip(document["results"], listed):
        assert part in result["error"]


def test_empty_picture(server):
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    body = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"image\"; filename=\"x\"\r\n\r\n"
        f"\r\n--{BOUNDARY}--\r\n"
    )
    reply = server.request("POST", "/v1/classify?labels=a,b", body.encode(), kind)
    assert_problem(reply, 422, CODES[422], "empty")


def test_limit_of_bytes():
    with serving("--max-image-bytes", len(DOG)) as server:
        assert classify(server, DOG).status == 200
        over = f"{len(DOG) + 1} bytes are over the limit of {len(DOG)} bytes"
        assert_problem(classify(server, DOG + b"x"), 413, CODES[413], over)
        good, bad = post_pictures(server, [DOG, DOG + b"x"])
        assert len(good["predictions"]) == 2
        assert bad["error"]["status"] == 413


def test_scaled_decoding_is_nearly_the_same():
    """Of large JPEGs; other pictures are the same to the last digit."""
    dog = Image.open(SAMPLES / "dog.png").convert("RGB").resize((900, 700), Image.BICUBIC)
    pictures = [saved(dog, "JPEG"), saved(dog, "PNG"), (SAMPLES / "cat.jpg").read_bytes()]
    with serving() as exact, serving("--jpeg-decoding", "scaled") as scaled:
        before, after = (
            [scores(result) for result in post_pictures(server, pictures)]
            for server in (exact, scaled)
        )
    assert before[0] != after[0]
    assert before[0] == pytest.approx(after[0], abs=0.01)
    assert before[1] == pytest.approx(after[1], rel=1e-5)


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_scaled_decoding_from_the_command_line(tmp_path, command):
    dog = Image.open(SAMPLES / "dog.png").convert("RGB").resize((900, 700), Image.BICUBIC)
    path = tmp_path / "dog.jpg"
    dog.save(path)
    words = ["--labels", "cat,dog", path] if command == "classify" else ["--image", path]
    whole = run_json(command, *words)
    assert run_json(command, "--jpeg-decoding", "exact", *words) == whole
    assert run_json(command, "--jpeg-decoding", "scaled", *words) != whole
    done = run(command, "--jpeg-decoding", "other", *words)
    assert_usage(done, command, "'--jpeg-decoding' is exact or scaled, not 'other'")


# ---- Made to hurt ----


def jpeg_of_scans(count):
    """The last scan of a progressive file over and over."""
    data = (ZOO / "too-many-scans.jpg").read_bytes()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (count - 101) + data[-2:]


def test_bombs_are_refused_before_they_go_off(server):
    with bounded_memory(server, SMALL):
        reply = classify(server, png_of_one_colour(20000))
        assert_problem(reply, 413, CODES[413], "20000 x 20000 pixels are over the limit")
        reply = classify(server, jpeg_of_scans(1000))
        assert_problem(reply, 413, CODES[413], "more scans than the limit of 100")
        for name in ("bomb.png", "bomb.webp", "bomb-canvas.webp", "lying-head.webp", "bomb.jpg"):
            assert_problem(
                classify(server, (ZOO / name).read_bytes()), 413, CODES[413], "are over the limit"
            )


def test_files_cut_at_every_997th_byte(server):
    names = ["dog.png", "guitar.png", "cat.jpg", "bicycle.jpg"]
    files = [(SAMPLES / name).read_bytes() for name in names]
    dog = Image.open(SAMPLES / "dog.png").convert("RGBA").resize((512, 512))
    files += [saved(dog, "WEBP", lossless=True), saved(dog, "WEBP", quality=95)]
    with bounded_memory(server, SMALL):
        for data in files:
            cuts = [data[:size] for size in range(STEP, len(data), STEP)]
            assert len(cuts) > 5
            for cut in cuts:
                assert_problem(classify(server, cut), 422, CODES[422], "cut short")
