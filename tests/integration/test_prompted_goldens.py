"""The pools of tests/golden/prompted, as `pool inspect` sees them."""

import pytest

from command_line import ROOT, run, run_json
from pool_files import read_safetensors

GOLDENS = ROOT / "tests/golden/prompted"
MODELS = sorted(path for path in GOLDENS.iterdir() if (path / "model.safetensors").is_file())
POOLS = [pool for model in MODELS for pool in sorted(model.glob("*.pool.safetensors"))]

EACH_POOL = pytest.mark.parametrize(
    "pool", POOLS, ids=lambda pool: f"{pool.parent.name}-{pool.name.partition('.')[0]}"
)


def test_there_are_models_and_pools():
    assert [model.name for model in MODELS] == ["deep_text", "deep_vision", "even"]
    assert all(sum(pool.parent == model for pool in POOLS) >= 5 for model in MODELS)


@EACH_POOL
def test_pool_fits_its_model(pool):
    document = run_json("pool", "inspect", "--model", pool.parent, pool)
    assert document["model"] == {"folder": str(pool.parent), "fits": True, "why": None}
    assert run("pool", "inspect", "--model", pool.parent, pool).returncode == 0

    tensors, metadata = read_safetensors(pool)
    values, keys, mean = (tensors[name] for name in ("pool.values", "pool.keys", "query_mean"))
    sizes = [document[name] for name in ("groups", "prompts", "tokens", "text_width")]
    assert sizes == list(values.shape)
    sizes = [document[name] for name in ("groups", "prompts", "query_width")]
    assert sizes == list(keys.shape)
    assert [document["text_blocks"], document["query_width"]] == list(mean.shape)

    assert document["metadata"] == metadata
    for name in "clusters", "per_cluster", "depth", "pos0":
        assert document[name] == int(metadata[name])
    for name in "name", "sentence", "cluster_space", "query_space", "retrieval":
        assert document[name] == metadata[name]

    model = run_json("model", "inspect", "--model", pool.parent)
    assert document["text_width"] == model["text"]["width"]
    assert document["text_blocks"] == model["text"]["blocks"]
    joint = metadata["query_space"] == "joint"
    assert document["query_width"] == (model["joint_width"] if joint else model["vision"]["width"])
    assert metadata["model_fingerprint"] == model["fingerprint"]


@EACH_POOL
def test_pool_does_not_fit_the_others(pool):
    for model in MODELS:
        if model == pool.parent:
            continue
        document = run_json("pool", "inspect", "--model", model, pool, code=1)
        assert document["model"]["folder"] == str(model)
        assert document["model"]["fits"] is False
        why = document["model"]["why"]
        assert any(part in why for part in ("pool.values", "pool.keys", "query_mean", "metadata"))
