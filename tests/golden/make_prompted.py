#!/usr/bin/python3
"""Writes tests/golden/prompted/: tiny models, pools of prompts, and the logits that they give.

The reference (prompted_reference.py) is written from METHOD section 7 in double precision, from the
numbers as they are stored, and shares nothing with the C code. Outputs are stored as F32.

Each folder is a model folder that the engine opens (weights in HuggingFace's layout, config,
tokenizer) of context 77, with these files more:

  pictures.safetensors             pixels [images, 3, size, size]; the class names are under
                                   "label.<n>" in its metadata. The last picture is a copy of the
                                   second, the one before it has a single colour, and the names
                                   "cat" and "Cat" are the same tokens.
  <variant>.pool.safetensors       a pool file (METHOD 7.7)
  <variant>.reference.safetensors  what that pool gives for these pictures and names:
    assignment      [images, depth, patches]  cluster of every patch
    cluster_margin  [images, depth]           smallest gap of any decision of the k-means
    composition     [images, depth, K n]      chosen prompts, ascending
    margin          [images, depth]           smallest gap of any decision of the retrieval that
                                              could change the composition; 9 if there was none
    text_features   [images, classes, joint]  unit length
    image_features  [images, joint]           unit length
    logits          [images, classes]

  deep_vision  3 vision blocks, 2 text blocks, so that one vision block is never read
  deep_text    2 vision blocks, 3 text blocks, so that text layer 0 reads the rows before block 1
  even         3 blocks each

Picture numbers and seeds are such that no decision is closer than the limits below, so that single
precision decides the same. Needs numpy, regex and torch. Run from anywhere; the output is the same
on every run.
"""
import hashlib
import json
import shutil

import numpy
import torch

import make_towers as towers
import prompted_reference as reference

HERE = towers.HERE
LABELS = ["cat", "cat photo", "dog", "dog in", "Cat", "sleeping dog", "42"]
SENTENCE = "a photo of a {}."
LONG_SENTENCE = "a photo of a {}, in photo."
CLUSTER_LIMIT, RETRIEVAL_LIMIT = 2e-5, 1e-4
COPY_OF = 1  # the picture that the last one repeats


class Variant:
    """The settings of one pool file."""

    def __init__(self, seed, K=4, n=1, P=1, G=1, M=16, J=1, pos0=1, cluster_space="raw",
                 query_space="joint", retrieval="distinct", sentence=SENTENCE, mean=True,
                 logit_scale=None, dtype=torch.float32, extra=None):
        self.seed, self.K, self.per_cluster, self.P, self.G, self.M = seed, K, n, P, G, M
        self.depth, self.pos0, self.cluster_space = J, pos0, cluster_space
        self.query_space, self.retrieval, self.sentence = query_space, retrieval, sentence
        self.mean, self.logit_scale, self.dtype, self.extra = mean, logit_scale, dtype, extra or {}

    def draw(self, g, clustered):
        """Makes the tensors of the pool file, and the same numbers in double precision."""
        random = numpy.random.default_rng(self.seed)
        width = g.vision.width if self.query_space == "raw" else g.joint
        values = random.normal(0, 0.7, (self.G, self.M, self.P, g.text.width))
        keys = random.normal(0, 1, (self.G, self.M, width))
        keys *= random.uniform(0.5, 2, (self.G, self.M, 1))  # their length must not matter
        mean = clustered.features.mean((0, 2)) * (1 if self.mean else 0)
        self.stored = {"pool.values": torch.from_numpy(values).to(self.dtype),
                       "pool.keys": torch.from_numpy(keys).to(self.dtype),
                       "query_mean": mean.to(self.dtype)}
        self.values, self.keys, self.query_mean = (
            self.stored[name].double() for name in ("pool.values", "pool.keys", "query_mean"))

    def metadata(self, name, fingerprint):
        fields = {"format": "attriprompt.pool/1", "name": name, "clusters": self.K,
                  "per_cluster": self.per_cluster, "depth": self.depth, "pos0": self.pos0,
                  "sentence": self.sentence, "cluster_space": self.cluster_space,
                  "query_space": self.query_space, "retrieval": self.retrieval,
                  "model_fingerprint": fingerprint, **self.extra}
        if self.logit_scale is not None:
            fields["logit_scale"] = self.logit_scale
        return {field: str(value) for field, value in fields.items()}


TRAINING = json.dumps({"data_set": "none", "shots": 16, "seed": 1, "scores": {"base": 71.25}})


class Model:
    def __init__(self, vision, text, image, patch, joint, act, seed, pictures, variants):
        self.g = towers.Geometry(vision, text, image, patch, joint, 77,
                                 len(towers.make_vocabulary()), act, seed)
        self.pictures, self.variants = pictures, variants
        self.stored = towers.rounded(towers.random_weights(self.g), torch.float32)
        self.weights = {name: value.double() for name, value in self.stored.items()}

    def picture(self, number, plain=False):
        random = numpy.random.default_rng([self.g.seed, number])
        size = (3, 1, 1) if plain else (3, self.g.image, self.g.image)
        pixels = torch.from_numpy(random.normal(0, 1.2, size)).float()
        return pixels.expand(3, self.g.image, self.g.image)

    def pixels(self):
        """The numbered pictures, of which the last has a single colour, and a copy."""
        *mixed, plain = self.pictures
        pictures = [self.picture(n) for n in mixed] + [self.picture(plain, True)]
        return torch.stack(pictures + [pictures[COPY_OF]])

    def fingerprint(self):
        blobs = [self.stored[name].numpy().astype("<f4").tobytes()
                 for name in ("text_projection", "visual.proj")]
        return hashlib.sha256(b"".join(blobs)).hexdigest()


def make_models():
    return {
        "deep_vision": Model((32, 2, 3, 64), (24, 3, 2, 48), 16, 4, 20, "quick_gelu", 21,
                             [176, 112, 131, 102, 191], {
            "plain": Variant(177, J=2),
            "layers": Variant(47, n=2, P=3, G=2, M=20, J=2, pos0=0, cluster_space="ln",
                              sentence=LONG_SENTENCE),
            "first": Variant(47, K=1, n=2, P=3, M=8, cluster_space="joint"),
            "singletons": Variant(54, K=16, G=2, M=24, J=2, pos0=0),
            "pooled": Variant(39, n=2, M=24, retrieval="topk_pooled", logit_scale=3.25),
        }),
        "deep_text": Model((24, 2, 2, 64), (32, 4, 3, 48), 24, 8, 28, "gelu", 22,
                           [9, 378, 7, 46, 3], {
            "plain": Variant(44, G=3, M=12, J=3),
            "middle": Variant(37, n=2, P=3, M=20, J=2, cluster_space="joint"),
            "singletons": Variant(11, K=9, n=2, M=24, J=3, pos0=0, cluster_space="ln",
                                  dtype=torch.float16),
            "raw_queries": Variant(265, G=3, J=2, pos0=0, query_space="raw"),
            "all": Variant(5, n=2, P=3, G=3, M=8, J=3),
        }),
        "even": Model((32, 4, 3, 56), (24, 2, 3, 40), 20, 5, 28, "quick_gelu", 23,
                      [194, 221, 371, 114, 120], {
            "plain": Variant(163, P=3, J=3, cluster_space="joint", extra={"colour": "blue; \"x\""}),
            "bare": Variant(11, K=1, P=3, G=3, M=8, pos0=0, cluster_space="ln", sentence="{}."),
            "layers": Variant(32, n=2, G=3, M=24, J=3, dtype=torch.bfloat16,
                              extra={"training": TRAINING}),
            "singletons": Variant(11, K=16, P=3, M=24, J=2, cluster_space="ln"),
            "no_mean": Variant(326, J=3, mean=False, cluster_space="joint"),
        }),
    }


# ---- What must hold for the files to be of use

def check_plain(model):
    """Without prompts the prompted tower is CLIP's."""
    sentences = [SENTENCE.replace("{}", label) for label in LABELS]
    plain = towers.encode_texts(model.g, model.weights, sentences)
    assert (reference.encode_prompted(model.g, model.weights, sentences, [], 1) - plain).abs(). \
        max() < 1e-14


def check_shift(model, pool, result):
    """A prompt acts through the LayerNorms only: adding one number to all of it changes nothing."""
    sentences = [pool.sentence.replace("{}", label) for label in LABELS]
    one_number = torch.zeros(model.g.text.width, dtype=torch.float64)
    one_number[3] = 0.37
    for change, changes_something in [(0.37, False), (one_number, True)]:
        rows = [own + (change if layer else 0) for layer, own in enumerate(result.rows[0])]
        moved = reference.encode_prompted(model.g, model.weights, sentences, rows, pool.pos0)
        difference = (moved - result.text_features[0]).abs().max()
        assert (difference > 1e-3 if changes_something and pool.depth > 1 else
                difference < 1e-9), difference


def check_result(model, pool, result):
    first, copy = result.composition[COPY_OF], result.composition[-1]
    assert (first == copy).all()
    assert (result.logits[COPY_OF] - result.logits[-1]).abs().max() < 1e-9
    same = LABELS.index("cat"), LABELS.index("Cat")
    assert (result.logits[:, same[0]] - result.logits[:, same[1]]).abs().max() < 1e-9
    if pool.M > pool.K * pool.per_cluster:
        assert len(compositions(result)) > 1
    assert result.cluster_margin.min() > CLUSTER_LIMIT, result.cluster_margin
    assert result.margin.min() > RETRIEVAL_LIMIT, result.margin
    check_shift(model, pool, result)


def compositions(result):
    return {tuple(own.flatten().tolist()) for own in result.composition}


def report(name, pool, result):
    """One line that shows whether the numbers depend on what they should depend on."""
    texts = result.text_features
    text_spread = (texts.amax(0) - texts.amin(0)).max()
    logit_spread = (result.logits.amax(0) - result.logits.amin(0)).max()
    print(f"{name:24s} K={pool.K:<2d} n={pool.per_cluster} P={pool.P} G={pool.G} M={pool.M:<2d} "
          f"J={pool.depth} pos0={pool.pos0} {pool.cluster_space:5s} {pool.query_space:5s} | "
          f"compositions {len(compositions(result))}, margin {result.margin.min():.1e}, "
          f"cluster margin {result.cluster_margin.min():.1e}, empty {result.filled}, "
          f"spread of texts {text_spread:.2f}, of logits {logit_spread:.1f}")


# ---- The folders

def write_variant(folder, model, name, pool, pixels, rows):
    clustered = reference.Clustered(model.g, model.weights, rows, pool.K, pool.cluster_space,
                                    pool.query_space)
    pool.draw(model.g, clustered)
    result = reference.Result(model.g, model.weights, pixels, LABELS, pool, clustered)
    check_result(model, pool, result)
    towers.write_safetensors(folder / f"{name}.pool.safetensors", pool.stored,
                             pool.metadata(name, model.fingerprint()))
    towers.write_safetensors(folder / f"{name}.reference.safetensors", result.tensors())
    report(f"{folder.name}/{name}", pool, result)


def write_model(folder, model):
    folder.mkdir(parents=True)
    towers.write_safetensors(folder / "model.safetensors", towers.as_huggingface(model.stored))
    towers.write_json(folder / "config.json", towers.huggingface_config(model.g))
    towers.write_tokenizer(folder)
    pixels = model.pixels()
    towers.write_safetensors(folder / "pictures.safetensors", {"pixels": pixels},
                             {f"label.{n}": label for n, label in enumerate(LABELS)})
    check_plain(model)
    rows = reference.image_rows(model.g, model.weights, pixels.double())
    for name, pool in model.variants.items():
        write_variant(folder, model, name, pool, pixels.double(), rows)


def main():
    torch.set_num_threads(1)  # so that sums are always taken in the same order
    root = HERE / "prompted"
    shutil.rmtree(root, ignore_errors=True)
    for name, model in make_models().items():
        write_model(root / name, model)
    for path in sorted(root.rglob("*.safetensors")):
        print(f"{path.stat().st_size:8d} {path.relative_to(root)}")


if __name__ == "__main__":
    main()
