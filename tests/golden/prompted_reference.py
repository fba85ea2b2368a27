"""What METHOD section 7 computes for pictures, class names and a pool of prompts.

Written from the specification with plain tensors, in double precision, on top of the plain CLIP of
make_towers.py; it shares nothing with the C code. Texts are the whole context of 77 tokens, one row
for each picture and class, with nothing shared between them.
"""
import math

import numpy
import torch

import make_towers as towers

ROUNDS = 10
NO_CHOICE = 9.0  # the margin where nothing had to be decided
PLACEHOLDER = 0  # the token under the prompts, which is always replaced


class Margin:
    """The smallest gap seen between what was chosen and what came next."""

    def __init__(self):
        self.smallest = math.inf

    def note(self, gap):
        self.smallest = min(self.smallest, float(gap))

    def value(self):
        return NO_CHOICE if self.smallest == math.inf else self.smallest


# ---- F2, F3: the rows of the picture

def image_rows(g, weights, pixels):
    """Patch rows [blocks + 1, images, patches, width]: after LN_pre, then after every block."""
    p = g.patch
    patches = pixels.reshape(len(pixels), 3, g.grid, p, g.grid, p).permute(0, 2, 4, 1, 3, 5)
    x = patches.reshape(len(pixels), g.grid ** 2, 3 * p * p) @ \
        weights["visual.conv1.weight"].reshape(g.vision.width, -1).T
    x = x + weights["visual.positional_embedding"][1:]
    first = towers.layer_norm(x, weights, "visual.ln_pre")
    _, after_blocks = towers.encode_images(g, weights, pixels)
    return torch.cat([first[None], after_blocks])


def paired_block(g, layer):
    """The vision block that text layer `layer` reads; 0 stands for the rows before block 1."""
    return (layer + 1) * g.vision.blocks // g.text.blocks


def to_joint(weights, rows):
    return towers.layer_norm(rows, weights, "visual.ln_post") @ weights["visual.proj"]


def in_space(weights, rows, space):
    if space == "raw":
        return rows
    if space == "ln":
        return towers.layer_norm(rows, weights, "visual.ln_post")
    return to_joint(weights, rows)


# ---- F4: spherical k-means

def first_centres(unit_rows, clusters, margin):
    """Row numbers by farthest-first.

    With one cluster, or as many as rows, the order of the choices cannot change the clusters. Then
    the only gap that counts is the one to a row that is chosen already.
    """
    matters = 1 < clusters < len(unit_rows)
    towards_mean = unit_rows @ unit_rows.mean(0)
    chosen = [int(towards_mean.argmax())]
    if matters:
        margin.note(towards_mean.max() - numpy.sort(towards_mean)[-2])
    while len(chosen) < clusters:
        closeness = (unit_rows @ unit_rows[chosen].T).max(1)
        best = int(closeness.argmin())
        rivals = numpy.delete(closeness, best) if matters else closeness[chosen]
        margin.note(rivals.min() - closeness[best])
        chosen.append(best)
    return chosen


def fill_empty(assignment, similarity, margin):
    """Gives every empty cluster the row that fits its own cluster worst; returns how many."""
    filled = 0
    for cluster in range(similarity.shape[1]):
        sizes = numpy.bincount(assignment, minlength=similarity.shape[1])
        if sizes[cluster]:
            continue
        own = similarity[numpy.arange(len(assignment)), assignment]
        own = numpy.where(sizes[assignment] > 1, own, math.inf)
        worst = int(own.argmin())
        margin.note(numpy.sort(own)[1] - own[worst])
        assignment[worst] = cluster
        filled += 1
    return filled


def centres_of(unit_rows, assignment, clusters):
    sums = numpy.stack([unit_rows[assignment == k].sum(0) for k in range(clusters)])
    return sums / numpy.sqrt((sums ** 2).sum(1, keepdims=True))


def by_smallest_member(assignment):
    order = []
    for cluster in assignment:
        if cluster not in order:
            order.append(cluster)
    return numpy.array([order.index(cluster) for cluster in assignment])


def cluster_rows(rows, clusters):
    """Cluster of every row, the smallest gap of any decision, and how often one was empty."""
    unit_rows = towers.unit(rows).numpy()
    margin, previous, filled = Margin(), None, 0
    centres = unit_rows[first_centres(unit_rows, clusters, margin)]
    for _ in range(ROUNDS):
        similarity = unit_rows @ centres.T
        assignment = similarity.argmax(1)  # numpy takes the first of equals
        if clusters > 1:
            ordered = numpy.sort(similarity, 1)
            margin.note((ordered[:, -1] - ordered[:, -2]).min())
        filled += fill_empty(assignment, similarity, margin)
        if previous is not None and (assignment == previous).all():
            break
        previous = assignment
        centres = centres_of(unit_rows, assignment, clusters)
    assert len(set(assignment)) == clusters
    return by_smallest_member(assignment), margin.value(), filled


# ---- F5, F6: the queries

def features_of_clusters(weights, rows, assignment, query_space):
    """Unit features of the clusters' mean rows, before query_mean is taken off."""
    clusters = int(assignment.max()) + 1
    means = torch.stack([rows[assignment == k].mean(0) for k in range(clusters)])
    return towers.unit(means if query_space == "raw" else to_joint(weights, means))


class Clustered:
    """The clusters of all pictures at all text layers, as one variant asks for them."""

    def __init__(self, g, weights, rows, clusters, cluster_space, query_space):
        images, layers = rows.shape[1], g.text.blocks
        self.assignment = numpy.zeros((images, layers, g.grid ** 2), int)
        self.margin = numpy.zeros((images, layers))
        self.filled = 0
        features = []
        for image in range(images):
            for layer in range(layers):
                own = rows[paired_block(g, layer), image]
                found, margin, filled = cluster_rows(in_space(weights, own, cluster_space),
                                                     clusters)
                self.assignment[image, layer] = found
                self.margin[image, layer] = margin
                self.filled += filled
                features.append(features_of_clusters(weights, own, found, query_space))
        self.features = torch.stack(features).reshape(images, layers, clusters, -1)


# ---- R1 to R4: the prompts

def match_distinct(similarity, per_cluster):
    """Greedy matching of [clusters, prompts]; the chosen prompts, ascending, and the margin."""
    clusters, prompts = similarity.shape
    needs, unused, margin = [per_cluster] * clusters, set(range(prompts)), Margin()
    pairs = [(-similarity[j, m], m, j) for j in range(clusters) for m in range(prompts)]
    for negative, m, j in sorted(pairs):
        if not needs[j] or m not in unused:
            continue
        rivals = [similarity[other, m] for other in range(clusters) if other != j and needs[other]]
        if needs[j] == 1:  # this prompt is the last of its cluster, so the next one loses
            rivals += [similarity[j, other] for other in unused if other != m]
        if rivals:
            margin.note(-negative - max(rivals))
        needs[j] -= 1
        unused.remove(m)
    assert not any(needs)
    return sorted(set(range(prompts)) - unused), margin.value() if unused else NO_CHOICE


def match_pooled(similarity, per_cluster):
    """The prompts that are most similar to any cluster."""
    best = similarity.max(0)
    order = sorted(range(len(best)), key=lambda m: (-best[m], m))
    count = len(similarity) * per_cluster
    chosen, rest = order[:count], order[count:]
    return sorted(chosen), best[chosen[-1]] - best[rest[0]] if rest else NO_CHOICE


def retrieve(features, pool, layer):
    queries = towers.unit(features - pool.query_mean[layer])
    keys = towers.unit(pool.keys[0 if len(pool.keys) == 1 else layer])
    match = match_pooled if pool.retrieval == "topk_pooled" else match_distinct
    return match((queries @ keys.T).numpy(), pool.per_cluster)


# ---- T1 to T4: the text tower

def prompt_rows(pool, composition):
    """The tokens of the chosen prompts, [S, width] for every prompted layer."""
    return [pool.values[0 if len(pool.values) == 1 else layer, chosen].flatten(0, 1)
            for layer, chosen in enumerate(composition)]


def encode_prompted(g, weights, sentences, rows, pos0):
    """Unit text features; rows[i] replaces positions 1..S before block i."""
    vocabulary = towers.make_vocabulary()
    slots = len(rows[0]) if rows else 0
    ids = torch.zeros(len(sentences), g.context, dtype=torch.long)
    for n, sentence in enumerate(sentences):
        tokens = towers.tokenize(sentence, vocabulary)
        tokens[1:1] = [PLACEHOLDER] * slots
        assert len(tokens) <= g.context, (sentence, len(tokens))
        ids[n, :len(tokens)] = torch.tensor(tokens)
    x = weights["token_embedding.weight"][ids] + weights["positional_embedding"]
    for layer in range(g.text.blocks):
        if layer < len(rows):
            prompts = rows[layer]
            if layer == 0 and pos0:
                prompts = prompts + weights["positional_embedding"][1:1 + slots]
            prompts = prompts.expand(len(sentences), slots, g.text.width)
            x = torch.cat([x[:, :1], prompts, x[:, 1 + slots:]], 1)
        x = towers.block(x, weights, f"transformer.resblocks.{layer}.", g.text.heads, g.act, True)
    x = towers.layer_norm(x, weights, "ln_final")[torch.arange(len(sentences)), ids.argmax(-1)]
    return towers.unit(x @ weights["text_projection"])


# ---- The whole method

class Result:
    """Tensors of the reference file, and what the report prints."""

    def __init__(self, g, weights, pixels, labels, pool, clustered):
        depth, images = pool.depth, len(pixels)
        self.filled = clustered.filled
        self.assignment = torch.from_numpy(clustered.assignment[:, :depth])
        self.cluster_margin = torch.from_numpy(clustered.margin[:, :depth])
        picks = [[retrieve(clustered.features[b, i], pool, i) for i in range(depth)]
                 for b in range(images)]
        self.composition = torch.tensor([[pick[0] for pick in row] for row in picks])
        self.margin = torch.tensor([[pick[1] for pick in row] for row in picks])
        sentences = [pool.sentence.replace("{}", label) for label in labels]
        self.rows = [prompt_rows(pool, composition) for composition in self.composition]
        self.text_features = torch.stack([encode_prompted(g, weights, sentences, rows, pool.pos0)
                                          for rows in self.rows])
        self.image_features, _ = towers.encode_images(g, weights, pixels)
        cosines = torch.einsum("bd,bcd->bc", self.image_features, self.text_features)
        scale = weights["logit_scale"] if pool.logit_scale is None else pool.logit_scale
        self.logits = math.exp(scale) * cosines

    def tensors(self):
        names = ["composition", "margin", "cluster_margin", "assignment", "text_features",
                 "image_features", "logits"]
        return {name: getattr(self, name).float() for name in names}
