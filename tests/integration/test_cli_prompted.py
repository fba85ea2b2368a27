"""classify --pool: what a picture shows chooses the prompts for its labels."""

import json
import math
import re
import shutil
from collections import Counter

import numpy
import pytest

from command_line import (
    MODEL,
    ROOT,
    SAMPLES,
    assert_failure,
    assert_usage,
    run,
    run_json,
    run_on_terminal,
    sample_pictures,
)
from pool_files import emoji_pool

CAT = SAMPLES / "cat.jpg"
DOG = SAMPLES / "dog.png"
LABELS_30 = SAMPLES / "labels-30.txt"
THREE = ("--labels", "cat,dog,pizza")
GOLDENS = ROOT / "tests/golden/prompted"


@pytest.fixture
def other(tmp_path):
    return tmp_path / "other.safetensors"


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return emoji_pool(tmp_path_factory.mktemp("pools") / "groups.safetensors")


@pytest.fixture(scope="module")
def samples(pool):
    """The samples among 30 labels, explained."""
    return classify(pool, "--labels-file", LABELS_30, "--explain", *sample_pictures())


def classify(pool, *words):
    return run_json("classify", "--pool", pool, *words)["results"]


def logits_of(results):
    """[pictures, labels]; NaN for labels that have none."""
    return numpy.array([result["logits"] for result in results], float)


# ---- Compositions ----


def test_document(pool):
    document = run_json("classify", "--pool", pool, *THREE, DOG, CAT)
    assert set(document) == {"labels", "results"}
    for result in document["results"]:
        assert set(result) == {
            "image",
            "logits",
            "probabilities",
            "predictions",
            "composition",
            "margin",
        }
        assert math.isclose(sum(result["probabilities"]), 1, abs_tol=1e-5)
        assert len(result["composition"]) == 6
        for prompts in result["composition"]:
            assert len(set(prompts)) == 4
            assert prompts == sorted(prompts)
            assert all(prompt in range(32) for prompt in prompts)
        assert result["margin"] >= 0


def test_prompts_change_the_logits(samples):
    plain = run_json("classify", "--labels-file", LABELS_30, *sample_pictures())["results"]
    assert set(plain[0]) == {"image", "logits", "probabilities", "predictions"}
    assert abs(logits_of(samples) - logits_of(plain)).max() > 0.1


def test_compositions_differ_between_pictures(samples):
    assert len(samples) == 12
    layers = range(len(samples[0]["composition"]))
    distinct = [len({tuple(each["composition"][layer]) for each in samples}) for layer in layers]
    print("distinct compositions in each layer:", distinct)
    print("least margin:", min(result["margin"] for result in samples))
    assert max(distinct) > 1


def test_depth_groups_and_tokens(other):
    emoji_pool(other, groups=6, prompts=40, tokens=2, clusters=5, per_cluster=2, depth=4)
    for result in classify(other, *THREE, DOG, CAT):
        assert [len(set(prompts)) for prompts in result["composition"]] == [10] * 4
        assert all(prompt in range(40) for prompts in result["composition"] for prompt in prompts)


def test_equal_pictures_give_equal_bytes(pool, tmp_path):
    copy = shutil.copy(DOG, tmp_path / "copy.png")
    words = ("classify", "--pool", pool, *THREE, "--explain", "--json")
    for picture, same in ((DOG, copy), (copy, DOG)):
        one = run(*words, CAT, picture).stdout
        assert run(*words, CAT, same).stdout == one.replace(
            str(picture).encode(), str(same).encode()
        )


def test_equal_pictures_of_a_batch(pool, samples):
    """Equal but for rounding, which depends on the place in the batch."""
    (expected,) = [result for result in samples if result["image"] == str(DOG)]
    results = classify(pool, "--labels-file", LABELS_30, *[DOG] * 7)
    for result in results:
        assert result["composition"] == expected["composition"]
        assert result["logits"] == pytest.approx(expected["logits"], abs=1e-3)


def test_threads_change_nothing(pool):
    words = ("classify", "--pool", pool, "--labels-file", LABELS_30, "--explain", "--json")
    one, two = (run(*words, "--threads", n, *sample_pictures()).stdout for n in ("1", "2"))
    assert len(one) > 1000
    assert one == two


def test_company_does_not_change_a_picture(pool, samples):
    alone = [
        classify(pool, "--labels-file", LABELS_30, picture)[0] for picture in sample_pictures()
    ]
    for one, together in zip(alone, samples):
        assert one["composition"] == together["composition"]
        assert one["margin"] == pytest.approx(together["margin"], abs=1e-5)
    largest = abs(logits_of(alone) - logits_of(samples)).max()
    print("largest difference of a logit, alone or together:", largest)
    assert largest <= 1e-3


def test_more_pictures_than_a_batch(pool, samples):
    pictures = sample_pictures() * 3
    results = classify(pool, "--labels-file", LABELS_30, *pictures)
    for result, first in zip(results, samples * 3):
        assert result["composition"] == first["composition"]
        assert result["logits"] == pytest.approx(first["logits"], abs=1e-3)


def test_a_pool_of_depth_0_is_plain(other):
    emoji_pool(other, depth=0)
    plain = run_json("classify", *THREE, DOG, CAT)["results"]
    results = classify(other, *THREE, "--explain", DOG, CAT)
    for result, expected in zip(results, plain):
        assert result.pop("composition") == []
        assert result.pop("margin") is None
        assert result.pop("explanation") == {"layers": [], "margin": None}
        assert result == expected


def test_a_pool_that_is_taken_whole(other):
    emoji_pool(other, prompts=4)
    for result in classify(other, *THREE, "--explain", DOG, CAT):
        assert result["composition"] == [[0, 1, 2, 3]] * 6
        assert result["margin"] is None
        assert result["explanation"]["margin"] is None
        assert [layer["margin"] for layer in result["explanation"]["layers"]] == [None] * 6
        assert_explained(result, clusters=4, per_cluster=1)
    text = run("classify", "--pool", other, *THREE, "--explain", DOG).stdout.decode()
    assert "  text block 6, all prompts\n" in text
    assert "margin" not in text


def test_logit_scale_of_the_pool(other):
    emoji_pool(other, logit_scale=3)
    (result,) = classify(other, *THREE, DOG)
    for prediction in result["predictions"]:
        assert prediction["logit"] == pytest.approx(math.exp(3) * prediction["cosine"], rel=1e-5)


# ---- Explanations ----


def assert_explained(result, clusters, per_cluster, takes_its_share=True):
    explanation = result["explanation"]
    assert set(explanation) == {"layers", "margin"}
    assert explanation["margin"] == result["margin"]
    assert [layer["prompts"] for layer in explanation["layers"]] == result["composition"]
    for layer in explanation["layers"]:
        assert set(layer) == {"prompts", "margin", "clusters"}
        made = layer["clusters"]
        assert set(made) == {"grid", "assignment", "prompt", "cluster", "similarity"}
        assert math.prod(made["grid"]) == len(made["assignment"]) == 64
        assert set(made["assignment"]) == set(range(clusters))
        assert sorted(made["prompt"]) == layer["prompts"]
        assert made["cluster"] == sorted(made["cluster"])
        assert set(made["cluster"]) <= set(range(clusters))
        assert len(made["prompt"]) == len(made["cluster"]) == len(made["similarity"])
        if takes_its_share:
            assert Counter(made["cluster"]) == dict.fromkeys(range(clusters), per_cluster)
        taken = list(zip(made["cluster"], made["similarity"]))
        assert all(-1 <= similarity <= 1 for _, similarity in taken)
        for (cluster, similarity), (following, less) in zip(taken, taken[1:]):
            assert cluster < following or similarity >= less
    margins = [layer["margin"] for layer in explanation["layers"]]
    if result["margin"] is not None:
        assert min(margins) == result["margin"]


def test_explanation(samples):
    for result in samples:
        assert_explained(result, clusters=4, per_cluster=1)


def test_explanation_of_several_prompts_a_cluster(other):
    emoji_pool(other, groups=6, prompts=40, clusters=5, per_cluster=3, depth=4)
    for result in classify(other, *THREE, "--explain", *sample_pictures()):
        assert_explained(result, clusters=5, per_cluster=3)


def test_explanation_of_pooled_retrieval(other):
    emoji_pool(other, per_cluster=2, retrieval="topk_pooled")
    for result in classify(other, *THREE, "--explain", *sample_pictures()):
        assert_explained(result, clusters=4, per_cluster=2, takes_its_share=False)


def test_explanation_changes_nothing_else(pool):
    explained = classify(pool, *THREE, "--explain", DOG, CAT)
    for result in explained:
        del result["explanation"]
    assert explained == classify(pool, *THREE, DOG, CAT)


def read_map(text):
    """For each text block of one picture: the rows of signs, and (sign, patches, prompt,
    similarity) of each prompt, as texts."""
    _, *blocks = re.split(r"(?m)^  text block (\d+), margin \S+\n", text)
    assert blocks[::2] == [str(number) for number in range(1, len(blocks) // 2 + 1)]
    rows = [re.findall(r"(?m)^   ((?: \S){8})(?:   .*)?$", block) for block in blocks[1::2]]
    choices = [
        re.findall(r"(?m)(\S) +(\d+) patch(?:es)? +prompt (\d+) +similarity +(-?\d\.\d{3})$", block)
        for block in blocks[1::2]
    ]
    return [("".join(signs).replace(" ", ""), found) for signs, found in zip(rows, choices)]


def test_text_of_an_explanation(pool, samples):
    words = ("classify", "--pool", pool, "--labels-file", LABELS_30, "--explain", DOG)
    explained = [result for result in samples if result["image"] == str(DOG)]
    for text in run(*words).stdout.decode(), run_on_terminal(*words, columns=60)[1]:
        assert text.startswith(f"{DOG}\n  ")
        shown = read_map(text)
        assert len(shown) == 6
        for layer, (signs, choices) in zip(explained[0]["explanation"]["layers"], shown):
            made = layer["clusters"]
            assert [ord(sign) - ord("a") for sign in signs] == made["assignment"]
            assert choices == [
                (chr(ord("a") + cluster), str(made["assignment"].count(cluster)), str(prompt), near)
                for cluster, prompt, near in zip(
                    made["cluster"],
                    made["prompt"],
                    (f"{similarity:.3f}" for similarity in made["similarity"]),
                )
            ]
    assert "text block" not in run(*words[:-2], DOG).stdout.decode()


def test_text_of_more_prompts_than_rows(other):
    emoji_pool(other, clusters=5, per_cluster=3)
    words = ("classify", "--pool", other, *THREE, "--explain", DOG, CAT)
    for text in run(*words).stdout.decode().split("\n\n"):
        for signs, choices in read_map(text):
            assert len(signs) == 64
            assert len(choices) == 15


def test_text_of_more_clusters_than_letters(other):
    emoji_pool(other, clusters=60, prompts=60, depth=1)
    (result,) = classify(other, "--labels", "cat", "--sentence", "{}", "--explain", DOG)
    assert_explained(result, clusters=60, per_cluster=1)
    words = ("classify", "--pool", other, "--labels", "cat", "--sentence", "{}", "--explain", DOG)
    text = run(*words).stdout.decode()
    rows = re.findall(r"(?m)^   ((?: \S){8})(?:   .*)?$", text)
    signs = "".join(rows).replace(" ", "")
    numbers = result["explanation"]["layers"][0]["clusters"]["assignment"]
    letters = "".join(chr(c) for c in [*range(97, 123), *range(65, 91)])
    assert signs == "".join(letters[number] if number < 52 else "+" for number in numbers)


# ---- Shortlists ----


def test_shortlist(pool, samples):
    pictures = sample_pictures()
    words = ("--labels-file", LABELS_30)
    plain = logits_of(run_json("classify", *words, *pictures)["results"])
    results = classify(pool, *words, "--shortlist", "5", "--top-k", "9", *pictures)
    differences = []
    for result, before, full in zip(results, plain, samples):
        kept = [label for label, logit in enumerate(result["logits"]) if logit is not None]
        assert kept == sorted(numpy.argsort(-before)[:5])
        assert sum(result["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert [result["probabilities"][label] == 0.0 for label in range(30)] == [
            label not in kept for label in range(30)
        ]
        differences += [result["logits"][label] - full["logits"][label] for label in kept]
        assert len(result["predictions"]) == 5
        assert result["composition"] == full["composition"]
    assert max(map(abs, differences)) <= 1e-3


def test_shortlist_of_all_labels_is_exact(pool):
    words = ("classify", "--pool", pool, *THREE, "--json", DOG, CAT)
    exact = run(*words).stdout
    for count in "0", "3", "4", "100000":
        assert run(*words, "--shortlist", count).stdout == exact


def test_shortlist_of_more_labels_than_a_pass_takes(pool):
    """In two sentences, too."""
    labels = ("--labels", ",".join(f"thing {number} of mine" for number in range(200)))
    words = (*labels, "--sentence", "a photo of a {}.", "--sentence", "{}", DOG)
    full = logits_of(classify(pool, *words))
    some = logits_of(classify(pool, *words, "--shortlist", "150"))
    assert numpy.isfinite(full).all()
    assert numpy.isfinite(some).sum() == 150
    assert numpy.nanmax(abs(some - full)) <= 1e-3


def test_shortlist_in_a_table(pool):
    done = run("classify", "--pool", pool, *THREE, "--shortlist", "2", DOG)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3


# ---- Sentences and labels ----


def test_sentence_of_the_pool_is_the_default(other):
    emoji_pool(other, sentence="an emoji of {}, large")
    words = ("classify", "--pool", other, *THREE, "--json", DOG, CAT)
    default = run(*words).stdout
    assert run(*words, "--sentence", "an emoji of {}, large").stdout == default
    assert run(*words, "--sentence", "a photo of a {}.").stdout != default
    own = run_json("classify", "--pool", other, DOG)
    assert len(own["labels"]) == run_json("model", "inspect")["default_labels"]
    assert len(own["results"][0]["composition"]) == 6


def test_several_sentences(pool):
    one, two = ("--sentence", "{}"), ("--sentence", "a photo of a {}.")
    both = logits_of(classify(pool, *THREE, *one, *two, DOG))
    assert (both == logits_of(classify(pool, *THREE, *two, *one, DOG))).all()
    for words in one, two:
        assert abs(both - logits_of(classify(pool, *THREE, *words, DOG))).max() > 1e-3


def test_a_label_that_is_too_long_for_the_pool(other):
    emoji_pool(other, tokens=4, per_cluster=4)
    long = "dog " * 20 + "dog"
    words = ("--labels", f"cat,{long},pizza", DOG)
    assert run("classify", *words).returncode == 0
    for more in ((), ("--json",), ("--shortlist", "1")):
        done = run("classify", "--pool", other, *words, *more)
        assert_failure(done, "classify", f'label "{long[:80]}')
        assert "77" in done.stderr.decode() and "64" in done.stderr.decode()
        assert done.stdout == b""
    assert run("classify", "--pool", other, *THREE, DOG).returncode == 0
    emoji_pool(other, tokens=4, per_cluster=4, depth=0)
    assert run("classify", "--pool", other, *words).returncode == 0


def test_a_broken_picture_among_good_ones(pool, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(CAT.read_bytes()[:40])
    words = ("classify", "--pool", pool, *THREE, "--explain")
    done = run(*words, "--json", cut, DOG, tmp_path / "no.png", CAT, cut)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3
    results = json.loads(done.stdout)["results"]
    assert ["error" in result for result in results] == [True, False, True, False, True]
    assert set(results[0]) == {"image", "error"}
    for result, alone in zip(results[1::2], classify(pool, *THREE, "--explain", DOG, CAT)):
        assert result == alone
    done = run(*words, cut, DOG, CAT)
    assert done.returncode == 1
    assert done.stdout == run(*words, DOG, CAT).stdout


# ---- Pools that are refused ----


def assert_refused(pool, *parts):
    for more in ((), ("--json",)):
        done = run("classify", "--pool", pool, *THREE, *more, DOG)
        assert_failure(done, "classify", f"{pool}: ")
        assert all(part in done.stderr.decode() for part in parts), done.stderr
        assert done.stdout == b""


def test_fingerprint(other, pool):
    emoji_pool(other, model_fingerprint="0" * 64)
    assert_refused(other, '"model_fingerprint" is 000000000000', "other weights")
    words = (*THREE, "--json", DOG)
    allowed = run("classify", "--pool", other, "--any-fingerprint", *words)
    assert allowed.returncode == 0
    assert allowed.stdout == run("classify", "--pool", pool, *words).stdout
    emoji_pool(other, model_fingerprint=run_json("model", "inspect")["fingerprint"])
    assert run("classify", "--pool", other, *words).stdout == allowed.stdout


def test_a_pool_for_another_model(other):
    golden = GOLDENS / "even/plain.pool.safetensors"
    assert_refused(golden, "last dimension of pool.values is 24", "128")
    done = run("classify", "--pool", golden, "--any-fingerprint", *THREE, DOG)
    assert_failure(done, "classify", "pool.values")
    assert_refused(emoji_pool(other, text_blocks=5), "first dimension of query_mean is 5", "6")
    assert_refused(emoji_pool(other, joint_width=96), "last dimension of pool.keys is 96", "128")
    assert_refused(emoji_pool(other, prompts=80, clusters=65), '"clusters" is 65', "64 patches")
    assert_refused(emoji_pool(other, prompts=80, per_cluster=19), "context of 77 tokens")


def test_files_that_are_no_pool(tmp_path, other):
    assert_refused(tmp_path / "no", "No such file")
    assert_refused(tmp_path, "regular file")
    assert_refused(shutil.copy(DOG, other), "safetensors")
    assert_refused(MODEL / "model.safetensors", '"format"')


# ---- Usage ----


@pytest.mark.parametrize(
    "words, part",
    [
        (["--explain", "x.png"], "--pool"),
        (["--shortlist", "5", "x.png"], "--pool"),
        (["--any-fingerprint", "x.png"], "--pool"),
        (["--pool", "x", "--shortlist", "-1", "x.png"], "--shortlist"),
        (["--pool", "x", "--shortlist", "many", "x.png"], "many"),
        (["--pool", "x", "--shortlist", "100001", "x.png"], "100000"),
        (["--pool", "x", "--explain=yes", "x.png"], "--explain"),
        (["--pool", "x"], "IMAGE"),
        (["x.png", "--pool"], "--pool"),
    ],
)
def test_usage(words, part):
    assert_usage(run("classify", *words), "classify", part)


def test_help():
    text = run("classify", "--help").stdout.decode()
    for option in "--pool --explain --shortlist --any-fingerprint".split():
        assert f"\n  {option}" in text
