"""deploy/import_pool.py: checkpoints of CoOp and its relatives become pool files. The checkpoints
are written here, byte by byte, as torch.save does; torch takes no part."""

import contextlib
import importlib.util
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy
import pytest

from command_line import MODEL, ROOT, SAMPLES, run_json
from pool_files import read_safetensors, write_safetensors

TOOL = ROOT / "deploy/import_pool.py"
TOWERS = ROOT / "tests/golden/towers"
ITEM = {"Float": "<f4", "Half": "<f2", "BFloat16": "<u2", "Double": "<f8", "Long": "<i8"}
WIDTH, JOINT, VISION, BLOCKS = 12, 8, 10, 3  # of the models made here


# ---- Files of torch.save ----


class Global:
    """A name that a pickle asks for."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """What a pickle asks to call, and the state to set on the result."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state


ORDERED = Global("collections", "OrderedDict")
REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


class Storage:
    def __init__(self, kind, data, count):
        self.kind, self.data, self.count = kind, data, count


def tensor(values, kind="Float", offset=0, stride=None, size=None, data=None, count=None):
    """A call of _rebuild_tensor_v2. values: the numbers of the storage, or the tensor itself."""
    values = numpy.asarray(values)
    stored = values.astype("<f4").view("<u4") >> 16 if kind == "BFloat16" else values
    size = values.shape if size is None else size
    if stride is None:
        stride = tuple(int(numpy.prod(size[n + 1 :])) for n in range(len(size)))
    data = stored.astype(ITEM[kind]).tobytes() if data is None else data
    storage = Storage(kind, data, values.size if count is None else count)
    return Call(REBUILD, storage, offset, size, stride, False, Call(ORDERED))


def ordered(items):
    return Call(ORDERED, [list(i) for i in items.items()], state={"_metadata": Call(ORDERED)})


class Emitter:
    """Pickles in protocol 2, and collects the storages."""

    def __init__(self):
        self.storages = []

    def emit(self, value):
        if isinstance(value, Global):
            return f"c{value.module}\n{value.name}\n".encode()
        if isinstance(value, Call):
            called = self.emit(value.function) + self.emit(value.arguments) + b"R"
            return called if value.state is None else called + self.emit(value.state) + b"b"
        if isinstance(value, Storage):
            self.storages.append(value.data)
            kind = Global("torch", f"{value.kind}Storage")
            name = str(len(self.storages) - 1)
            return self.emit(("storage", kind, name, "cuda:0", value.count)) + b"Q"
        if isinstance(value, dict):
            return b"}(" + b"".join(map(self.emit, sum(value.items(), ()))) + b"u"
        if isinstance(value, (list, tuple)):
            inside = b"(" + b"".join(map(self.emit, value))
            return inside + b"t" if isinstance(value, tuple) else b"]" + inside + b"e"
        return pickle.dumps(value, 2)[2:-1]


def save(path, content, missing=(), compression=zipfile.ZIP_STORED, raw=None, **extra):
    """raw: the pickle itself; missing: storages that are left out."""
    emitter = Emitter()
    data = b"\x80\x02" + emitter.emit(content) + b"." if raw is None else raw
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model/data.pkl", data)
        for number, storage in enumerate(emitter.storages):
            if number not in missing:
                archive.writestr(f"model/data/{number}", storage)
        for name, text in {"version": "3\n", **extra}.items():
            archive.writestr(f"model/{name}", text)
    return path


def dassl(state, **changes):
    return {"state_dict": ordered(state), "epoch": 50, "val_result": None, **changes}


# ---- Models and prompts ----


def noise(seed, *shape):
    return numpy.random.default_rng(seed).normal(0, 0.02, shape).astype("<f4")


PROJECTIONS = noise(1, WIDTH, JOINT), noise(2, VISION, JOINT)


def whole(kind="Float", projections=PROJECTIONS, blocks=BLOCKS):
    """What a checkpoint of a whole model holds beside its prompts, as far as it matters."""
    state = {
        "logit_scale": tensor(numpy.float32(4.6)),
        "text_encoder.positional_embedding": tensor(noise(3, 77, WIDTH), kind),
        "text_encoder.ln_final.weight": tensor(noise(4, WIDTH)),
        "text_encoder.text_projection": tensor(projections[0], kind),
        "image_encoder.conv1.weight": tensor(noise(5, VISION, 3, 2, 2), kind),
        "image_encoder.proj": tensor(projections[1], kind),
        "prompt_learner.token_prefix": tensor(noise(6, 5, 1, WIDTH), kind),
    }
    for block in range(blocks):
        start = f"text_encoder.transformer.resblocks.{block}."
        state[start + "attn.in_proj_weight"] = tensor(noise(7, 3 * WIDTH, WIDTH), kind)
        state[start + "mlp.c_fc.bias"] = tensor(noise(8, 4 * WIDTH), kind)
    return state


def model_folder(folder, projections=PROJECTIONS, blocks=BLOCKS):
    folder.mkdir()
    weights = {"text_projection": projections[0], "visual.proj": projections[1]}
    for block in range(blocks):
        weights[f"transformer.resblocks.{block}.ln_1.weight"] = noise(9, WIDTH)
    write_safetensors(folder / "model.safetensors", weights, {"format": "pt"})
    return folder


def coop(values=None, **options):
    values = noise(10, 4, WIDTH) if values is None else values
    rest = {
        "token_prefix": tensor(noise(11, 5, 1, values.shape[-1])),
        "token_suffix": tensor(noise(12, 5, 72, values.shape[-1])),
    }
    return {"ctx": tensor(values, **options), **rest}


def deep_text(values):
    """PromptSRC's and IVLP's prompts for the text tower, [depth, prompts, width]."""
    state = {"prompt_learner.ctx": tensor(values[0])}
    for block in range(1, len(values)):
        name = f"text_encoder.transformer.resblocks.{block}.VPT_shallow"
        state[name] = tensor(values[block])
    return state


VISION_PROMPTS = {
    "image_encoder.VPT": tensor(noise(13, 4, VISION)),
    "image_encoder.transformer.resblocks.1.VPT_shallow": tensor(noise(14, 4, VISION)),
}
FROZEN_COPY = {"prompt_learner.ZS_image_encoder.conv1.weight": tensor(noise(5, VISION, 3, 2, 2))}


def maple(values, with_vision=True):
    state = {"prompt_learner.ctx": tensor(values[0])}
    for number, layer in enumerate(values[1:]):
        state[f"prompt_learner.compound_prompts_text.{number}"] = tensor(layer)
    if with_vision:
        state["prompt_learner.proj.weight"] = tensor(noise(15, VISION, WIDTH), "Half")
        state["prompt_learner.proj.bias"] = tensor(noise(16, VISION), "Half")
        state["prompt_learner.compound_prompt_projections.0.bias"] = tensor(noise(17, VISION))
    return state


# ---- Running it ----


def load_tool():
    spec = importlib.util.spec_from_file_location("import_pool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def start(*words):
    """What the command does, in this process, since starting one takes longer than all the rest."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape") for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(TOOL), *map(os.fsdecode, words)])
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            try:
                code = tool.main()
            except SystemExit as end:
                code = end.code
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess(words, code, *texts)


def start_process(*words, **changes):
    """The same in a process of its own, with these environment variables."""
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **changes}
    command = [sys.executable, "-B", TOOL, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.pth.tar-50"


@pytest.fixture
def imports(tmp_path, file):
    """Saves a state_dict, imports it; tensors, metadata and what went to standard error."""

    def run(state, *words, **options):
        save(file, dassl(state, **options))
        out = tmp_path / "out.safetensors"
        done = start(file, "-o", out, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{out}: ") and done.stdout.count("\n") == 1
        return (*read_safetensors(out), done.stderr)

    return run


@pytest.fixture
def refuses(tmp_path, file):
    """Fails with one line that holds these parts, and writes nothing."""

    def run(*parts, words=(), start=start):
        before = sorted(os.listdir(tmp_path))
        done = start(file, "-o", tmp_path / "out.safetensors", *words)
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith("import_pool: ") and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr[:-1].isprintable()
        for part in parts:
            assert part in done.stderr, done.stderr
        assert sorted(os.listdir(tmp_path)) == before

    return run


def check_pool(tensors, metadata, values, joint, blocks):
    """values: [depth, prompts, width]"""
    depth, prompts, width = values.shape
    groups = 1 if depth == 1 else blocks
    stored = tensors["pool.values"]
    assert stored.shape == (groups, prompts, 1, width)
    numpy.testing.assert_array_equal(stored[:depth, :, 0], values)
    assert not stored[depth:].any()
    assert tensors["pool.keys"].shape == (groups, prompts, joint)
    assert (numpy.linalg.norm(tensors["pool.keys"], axis=-1) == 1).all()
    assert tensors["query_mean"].shape == (blocks, joint) and not tensors["query_mean"].any()
    wanted = {"format": "attriprompt.pool/1", "clusters": "1", "per_cluster": str(prompts),
              "depth": str(depth), "pos0": "1", "cluster_space": "raw", "query_space": "joint",
              "retrieval": "distinct"}
    assert {key: metadata.get(key) for key in wanted} == wanted


# ---- CoOp, and the model folders of the three families ----


@pytest.mark.parametrize(
    "name, width, joint, blocks",
    [("huggingface", 40, 24, 2), ("openai", 64, 48, 1), ("open_clip", 64, 20, 2)],
)
def test_coop(imports, tmp_path, name, width, joint, blocks):
    values = noise(20, 16, width)
    tensors, metadata, errors = imports(coop(values), "--model", TOWERS / name)
    check_pool(tensors, metadata, values[None], joint, blocks)
    assert errors == ""
    assert metadata["sentence"] == "{}."
    assert "name" not in metadata
    training = json.loads(metadata["training"])
    assert training["imported_from"] == "CoOp"
    assert training["file"] == "model.pth.tar-50"
    assert training["epoch"] == 50
    fingerprint = run_json("model", "inspect", "--model", TOWERS / name)["fingerprint"]
    assert metadata["model_fingerprint"] == fingerprint


def test_one_model_in_three_layouts_has_one_fingerprint(imports):
    values = noise(21, 4, 24)
    found = {imports(coop(values), "--model", TOWERS / f"same_{name}")[1]["model_fingerprint"]
             for name in ("huggingface", "openai", "open_clip")}
    assert len(found) == 1


def test_the_program_takes_it(imports, tmp_path):
    for state, depth in ((coop(noise(22, 4, 40)), 1), (maple(noise(23, 2, 2, 40), False), 2)):
        imports(state, "--model", TOWERS / "huggingface")
        words = ("--model", TOWERS / "huggingface", tmp_path / "out.safetensors")
        document = run_json("pool", "inspect", *words)
        assert document["model"]["fits"] is True, document
        assert document["depth"] == depth


@pytest.mark.parametrize("kind, prompts", [("CoOp", 4), ("MaPLe", 2), ("MaPLe", 3)])
def test_prompts_that_are_words_do_what_the_words_do(imports, tmp_path, kind, prompts):
    embedding = emoji_embedding()
    (ids,) = run_json("tokenize", "a photo of a")["ids"]
    words = embedding[ids[1 : 1 + prompts]]
    state = coop(words) if kind == "CoOp" else maple(words[None], False)
    if kind == "MaPLe":
        state["prompt_learner.proj.bias"] = tensor(noise(24, 192))
    imports(state, "--model", MODEL, "--text-side-only")
    command = ("classify", "--labels", "cat,dog,red car,pizza", "--top-k", "4", SAMPLES / "dog.png")
    plain, prompted = (
        run_json(*command, *more)["results"][0]["predictions"]
        for more in (("--sentence", "a photo of a {}."), ("--pool", tmp_path / "out.safetensors"))
    )
    assert [one["label"] for one in prompted] == [one["label"] for one in plain]
    for one, other in zip(prompted, plain):
        assert one["cosine"] == pytest.approx(other["cosine"], abs=1e-5)


def emoji_embedding():
    data = (MODEL / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + length])["text_model.embeddings.token_embedding.weight"]
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    assert entry["dtype"] == "F16"
    return numpy.frombuffer(data[begin:end], "<f2").astype("<f4").reshape(entry["shape"])


@pytest.mark.parametrize("prefix", ["", "module.", "prompt_learner.", "module.prompt_learner."])
@pytest.mark.parametrize("is_bare", [False, True])
def test_names_of_coop(tmp_path, file, prefix, is_bare):
    model = model_folder(tmp_path / "model")
    state = {prefix + name: value for name, value in coop().items()}
    save(file, ordered(state) if is_bare else dassl(state))
    out = tmp_path / "out.safetensors"
    assert start(file, "-o", out, "--model", model).returncode == 0
    tensors, metadata = read_safetensors(out)
    check_pool(tensors, metadata, noise(10, 4, WIDTH)[None], JOINT, BLOCKS)
    assert json.loads(metadata["training"])["epoch"] == (None if is_bare else 50)


@pytest.mark.parametrize("kind", ["Float", "Half", "BFloat16", "Double"])
def test_kinds_of_numbers(imports, tmp_path, kind):
    values = (noise(25, 4, WIDTH).view("<u4") & 0xFFFF0000).view("<f4")  # exact in bfloat16
    values = values.astype("<f2").astype("<f4") if kind == "Half" else values
    tensors, _, _ = imports(coop(values, kind=kind), "--model", model_folder(tmp_path / "model"))
    numpy.testing.assert_array_equal(tensors["pool.values"][0, :, 0], values)


@pytest.mark.parametrize("kind", ["Float", "Half", "BFloat16"])
def test_offset_and_stride(imports, tmp_path, kind):
    base = numpy.arange(200).astype("<f4")
    words = ("--model", model_folder(tmp_path / "model"))
    for offset, stride in ((7, (WIDTH, 1)), (3, (1, 4)), (0, (40, 3)), (11, (0, 2)), (5, (0, 0))):
        wanted = offset + stride[0] * numpy.arange(4)[:, None] + stride[1] * numpy.arange(WIDTH)
        state = {"ctx": tensor(base, kind, offset=offset, stride=stride, size=(4, WIDTH))}
        tensors, _, _ = imports(state, *words)
        numpy.testing.assert_array_equal(tensors["pool.values"][0, :, 0], wanted)
    last = 200 - (3 * 40 + 11 * 3 + 1)  # the last number of the storage is the tensor's last
    state = {"ctx": tensor(base, kind, offset=last, stride=(40, 3), size=(4, WIDTH))}
    assert imports(state, *words)[0]["pool.values"].max() == 199


def test_parameters(imports, tmp_path):
    state = coop()
    rebuild = Global("torch._utils", "_rebuild_parameter")
    state["ctx"] = Call(rebuild, state["ctx"], True, Call(ORDERED))
    tensors, _, _ = imports(state, "--model", model_folder(tmp_path / "model"))
    numpy.testing.assert_array_equal(tensors["pool.values"][0, :, 0], noise(10, 4, WIDTH))


# ---- The relatives that come with the whole model ----


def test_text_prompts_alone(imports, tmp_path):
    values = noise(30, 2, 4, WIDTH)
    state = {**whole(), **deep_text(values)}
    tensors, metadata, errors = imports(state)
    check_pool(tensors, metadata, values, JOINT, BLOCKS)
    assert errors == ""
    assert metadata["sentence"] == "{}."
    assert json.loads(metadata["training"])["imported_from"] == "IVLP"
    assert len(metadata["model_fingerprint"]) == 64
    again = imports(state, "--model", model_folder(tmp_path / "model"))[1]
    assert again["model_fingerprint"] == metadata["model_fingerprint"]


def test_a_checkpoint_in_half_precision_gives_no_fingerprint(imports, tmp_path):
    state = {**whole("Half"), **deep_text(noise(30, 3, 4, WIDTH))}
    tensors, metadata, errors = imports(state)
    check_pool(tensors, metadata, noise(30, 3, 4, WIDTH), JOINT, BLOCKS)
    assert "model_fingerprint" not in metadata
    assert errors.startswith("import_pool: note: ") and "--model" in errors
    _, metadata, errors = imports(state, "--model", model_folder(tmp_path / "model"))
    assert errors == ""
    assert metadata["model_fingerprint"] == imports(
        {**whole(), **deep_text(noise(30, 3, 4, WIDTH))})[1]["model_fingerprint"]


@pytest.mark.parametrize("kind", ["PromptSRC", "IVLP", "MaPLe"])
def test_vision_prompts_are_left_out_only_when_asked(imports, refuses, tmp_path, file, kind):
    values = noise(31, 3, 2, WIDTH)
    state = {**whole(), **maple(values)}
    if kind != "MaPLe":
        extra = FROZEN_COPY if kind == "PromptSRC" else {}
        state = {**whole(), **deep_text(values), **VISION_PROMPTS, **extra}
    save(file, dassl(state))
    refuses(kind, "--text-side-only")
    tensors, metadata, errors = imports(state, "--text-side-only")
    check_pool(tensors, metadata, values, JOINT, BLOCKS)
    assert errors.startswith("import_pool: warning: ") and "scores will differ" in errors
    training = json.loads(metadata["training"])
    assert training["imported_from"] == kind and training["text_side_only"] is True
    # PromptSRC averages its weights, so that its copy of the model is not the model's.
    assert ("model_fingerprint" in metadata) == (kind != "PromptSRC")


@pytest.mark.parametrize("name", [*VISION_PROMPTS, "prompt_learner.proj.weight",
                                  "prompt_learner.compound_prompt_projections.2.bias"])
def test_any_vision_prompt_counts(refuses, file, name):
    state = {**whole(), **deep_text(noise(32, 1, 4, WIDTH)), name: tensor(noise(33, 4, VISION))}
    save(file, dassl(state))
    refuses("--text-side-only")


@pytest.mark.parametrize(
    "kind, prompts, sentence",
    [
        ("CoOp", 1, "{}."),
        ("CoOp", 16, "{}."),
        ("IVLP", 4, "{}."),
        ("IVLP", 2, "of a {}."),
        ("MaPLe", 1, "photo of a {}."),
        ("MaPLe", 2, "of a {}."),
        ("MaPLe", 3, "a {}."),
        ("MaPLe", 6, "{}."),
    ],
)
def test_default_sentence(imports, tmp_path, kind, prompts, sentence):
    values = noise(34, 1 if kind == "CoOp" else 2, prompts, WIDTH)
    states = {"CoOp": coop(values[0]), "IVLP": {**whole(), **deep_text(values)},
              "MaPLe": maple(values, False)}
    words = ("--model", model_folder(tmp_path / "model"))
    assert imports(states[kind], *words)[1]["sentence"] == sentence


def test_sentence_and_name(imports, tmp_path):
    words = ("--sentence", "ein {}, groß", "--name", "blümchen")
    metadata = imports(coop(), *words, "--model", model_folder(tmp_path / "model"))[1]
    assert (metadata["sentence"], metadata["name"]) == ("ein {}, groß", "blümchen")


def test_the_models_must_be_the_same(refuses, tmp_path, file):
    text, vision = PROJECTIONS
    save(file, dassl({**whole(), **deep_text(noise(35, 2, 4, WIDTH))}))
    for name, projections, blocks, part in (
        ("text", (text[::-1], vision), BLOCKS, "another model"),
        ("vision", (text, vision * 1.05), BLOCKS, "another model"),
        ("joint", (noise(36, WIDTH, JOINT + 1), noise(37, VISION, JOINT + 1)), BLOCKS, "[12, 9]"),
        ("blocks", PROJECTIONS, BLOCKS + 1, f"{BLOCKS} text blocks"),
    ):
        folder = model_folder(tmp_path / name, projections, blocks)
        refuses(part, str(folder), words=("--model", folder))


def test_rounded_models_are_the_same(imports, tmp_path):
    """PromptSRC sums its weights, times the weights of a Gaussian, in half precision."""
    epochs = numpy.arange(1, 51)
    gauss = numpy.exp(-0.5 * ((epochs - 30) / 30) ** 2)
    sums = []
    for projection in PROJECTIONS:
        half = projection.astype("<f2")
        parts = [(half * weight).astype("<f2") for weight in gauss / gauss.sum()]
        sums.append(numpy.add.accumulate(parts)[-1])
        assert (sums[-1] != half).any()
    state = {**whole("Half", sums), **deep_text(noise(38, 2, 4, WIDTH)), **FROZEN_COPY}
    imports(state, "--model", model_folder(tmp_path / "model"))


# ---- What it refuses ----


def test_prompts_that_a_pool_cannot_hold(refuses, file):
    words = ("--model", TOWERS / "huggingface")
    save(file, dassl(coop(noise(40, 10, 4, 40))))
    refuses("[10, 4, 40]", "each class", words=words)
    for prefix in ("", "prompt_learner."):
        state = {**coop(), "meta_net.linear1.weight": tensor(noise(41, 2, 40))}
        save(file, dassl({prefix + name: value for name, value in state.items()}))
        refuses("CoCoOp", "meta_net", words=words)
    save(file, dassl({**whole(), **VISION_PROMPTS}))
    refuses("no prompt_learner.ctx")
    save(file, dassl({**coop(), "adapter.weight": tensor(noise(42, 2, 2))}))
    refuses("adapter.weight", words=words)
    save(file, dassl({**whole(), **deep_text(noise(43, 2, 4, WIDTH)),
                      "text_encoder.transformer.resblocks.0.lora_A": tensor(noise(44, 2, 2))}))
    refuses("lora_A")


@pytest.mark.parametrize(
    "name, numbers",
    [
        ("text_encoder.transformer.resblocks.{}.VPT_shallow", ["1", "2", "4"]),
        ("text_encoder.transformer.resblocks.{}.VPT_shallow", ["2"]),
        ("text_encoder.transformer.resblocks.{}.VPT_shallow", ["0", "1"]),
        ("text_encoder.transformer.resblocks.{}.VPT_shallow", ["1", "01"]),
        ("text_encoder.transformer.resblocks.{}.VPT_shallow", ["999999"]),
        ("prompt_learner.compound_prompts_text.{}", ["0", "2"]),
        ("prompt_learner.compound_prompts_text.{}", ["1"]),
        ("prompt_learner.compound_prompts_text.{}", ["0", "00"]),
    ],
)
def test_gaps(refuses, file, name, numbers):
    state = {**whole(), "prompt_learner.ctx": tensor(noise(45, 4, WIDTH))}
    for number in numbers:
        state[name.format(number)] = tensor(noise(46, 4, WIDTH))
    save(file, dassl(state))
    refuses("text blocks", "gap")


def test_shapes(refuses, tmp_path, file):
    model = model_folder(tmp_path / "model")
    good = noise(47, 2, 4, WIDTH)
    for first, second, parts in (
        (good[0], good[1, :3], ["resblocks.1.VPT_shallow has shape [3, 12]"]),
        (good[0], good[1, :, :9], ["[4, 9]"]),
        (good[0], good, ["[2, 4, 12]"]),
        (good[0, 0], good[1], ["ctx has shape [12]"]),
        (good[0, :, :9], good[1, :, :9], ["width 9", "width 12"]),
        (noise(48, 1025, WIDTH), noise(48, 1025, WIDTH), ["[1025, 12]", "1024"]),
    ):
        state = {**whole(), **deep_text([first, second])}
        save(file, dassl(state))
        refuses(*parts)
    save(file, dassl({**whole(), **deep_text(noise(49, 4, 4, WIDTH))}))
    refuses("4 text blocks", "3 text blocks")
    save(file, dassl(coop(noise(49, 4, WIDTH + 1))))
    refuses("width 13", str(model), words=("--model", model))
    save(file, dassl({**whole(blocks=0), **deep_text(good[:1])}))
    refuses("0 text blocks")


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf])
@pytest.mark.parametrize("kind", ["Float", "Half", "BFloat16", "Double"])
def test_values_that_are_not_finite(refuses, file, value, kind):
    values = noise(50, 4, WIDTH)
    values[1, 2] = value
    save(file, dassl(coop(values, kind=kind)))
    refuses("ctx", "not finite")


def test_values_beyond_single_precision(refuses, file):
    save(file, dassl(coop(numpy.full((4, WIDTH), 1e39), kind="Double")))
    refuses("not finite")


def test_numbers_that_are_no_reals(refuses, file):
    for kind in ("Long", "Bool"):
        values = tensor(numpy.ones((4, WIDTH)), "Long")
        values.arguments[0].kind = kind
        save(file, dassl({"ctx": values}))
        refuses("ctx", f"torch.{kind}Storage")


def test_without_a_model(refuses, tmp_path, file):
    save(file, dassl(coop()))
    refuses("--model")
    refuses(str(tmp_path / "no"), words=("--model", tmp_path / "no"))
    folder = tmp_path / "empty"
    folder.mkdir()
    refuses("model.safetensors", words=("--model", folder))
    weights = folder / "model.safetensors"
    good = (model_folder(tmp_path / "good") / "model.safetensors").read_bytes()
    for data in (b"", b"\xff" * 8, b"\xff" * 100, b"\2\0\0\0\0\0\0\0[]", b"\2\0\0\0\0\0\0\0{]",
                 good[:100], good[:-200], good.replace(b'"F32"', b'"X32"'),
                 good.replace(b"visual.proj", b"vision.proj")):
        assert data != good
        weights.write_bytes(data)
        refuses(str(weights), words=("--model", folder))


def test_the_checkpoint_is_not_overwritten(file, tmp_path):
    save(file, dassl(coop()))
    before = file.read_bytes()
    done = start(file, "-o", file, "--model", model_folder(tmp_path / "model"))
    assert done.returncode == 1
    assert file.read_bytes() == before


def test_an_old_pool_stays_until_the_new_one_is_whole(tmp_path, file):
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"old")
    save(file, dassl(coop()))
    assert start(file, "-o", out).returncode == 1
    assert out.read_bytes() == b"old"
    assert start(file, "-o", out, "--model", model_folder(tmp_path / "model")).returncode == 0
    assert out.read_bytes() != b"old"
    done = start(file, "-o", tmp_path / "no/out", "--model", tmp_path / "model")
    assert done.returncode == 1 and str(tmp_path / "no/out") in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["model", file.name, out.name]


def test_the_same_bytes_on_every_run(tmp_path, file):
    save(file, dassl({**whole(), **deep_text(noise(51, 2, 4, WIDTH))}))
    outs = [tmp_path / "a", tmp_path / "b"]
    for seed, out in enumerate(outs):
        done = start_process(file, "-o", out, PYTHONHASHSEED=str(seed))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{out}: IVLP, 4 prompts of width 12 in 2 of 3 text blocks")
    assert outs[0].read_bytes() == outs[1].read_bytes()


# ---- Files that are damaged, or no checkpoints ----


def test_files_that_are_no_archive(refuses, tmp_path, file):
    refuses(f"{file}: No such file")
    legacy = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps({"state_dict": {}}, 2)
    for data in (b"", b"hello", pickle.dumps({"state_dict": {}}), legacy, b"PK\3\4" + b"\0" * 100):
        file.write_bytes(data)
        refuses("torch.save(torch.load(")
    file.unlink()
    file.mkdir()
    refuses(f"{file}: Is a directory")


def test_a_cut_archive(refuses, file):
    data = save(file, dassl(coop())).read_bytes()
    for size in (4, 30, 100, len(data) // 2, len(data) - 30, len(data) - 1):
        file.write_bytes(data[:size])
        refuses("damaged")


def test_archives_of_something_else(refuses, file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme", "hello")
    refuses("data.pkl")
    with zipfile.ZipFile(file, "w") as archive:
        for folder in "ab":
            archive.writestr(f"{folder}/data.pkl", pickle.dumps({}, 2))
    refuses("data.pkl")
    save(file, Call(Global("__torch__.clip", "CLIP"), state={"visual": 1}))
    refuses("__torch__.clip.CLIP", "TorchScript")
    for content in ([1, 2], "text", None, 7, {"state_dict": [1]}, {"state_dict": {}}, {}):
        save(file, content)
        refuses(str(file))
    for raw in (b"", b"\x80", b"hello", b"\x80\x02.", b"\x80\x63.", b"\x80\x02}", b"\x80\x02(.."):
        save(file, None, raw=raw)
        refuses("data.pkl")
    save(file, dassl(coop()), byteorder="big")
    refuses("big-endian")
    save(file, dassl(coop()), compression=zipfile.ZIP_DEFLATED)
    refuses("compressed")
    save(file, None, raw=b"\x80\x02" + b"N0" * (9 << 20) + b"N.")
    refuses("data.pkl", "bytes")


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"count": 47}, "number 48 of a storage of 47"),
        ({"data": b"\0" * 100}, "92 bytes too short"),
        ({"data": b""}, "192 bytes too short"),
        ({"count": 10**9, "offset": 10**8}, "too short"),
        ({"offset": 1}, "number 49 of a storage of 48"),
        ({"offset": -1}, "no proper shape"),
        ({"offset": 1 << 70}, "no proper shape"),
        ({"offset": (1 << 62) - 1}, "of a storage of 48"),
        ({"offset": True}, "no proper shape"),
        ({"offset": "0"}, "no proper shape"),
        ({"stride": (WIDTH, 2)}, "of a storage of 48"),
        ({"stride": (1 << 61, 1)}, "must have 1 to"),
        ({"stride": (-WIDTH, 1)}, "no proper shape"),
        ({"stride": (1,)}, "no proper shape"),
        ({"stride": 7}, "no proper shape"),
        ({"size": (4, -WIDTH)}, "no proper shape"),
        ({"size": (0, WIDTH)}, "must have 1 to"),
        ({"size": (1 << 40, 1 << 40), "stride": (0, 0)}, "must have 1 to"),
        ({"size": (1 << 30, 1 << 30), "stride": (0, 1)}, "must have 1 to"),
        ({"size": (4, 1.5), "stride": (1, 1)}, "no proper shape"),
        ({"size": (1,) * 9}, "no proper shape"),
        ({"size": None, "stride": (0,) * 2, "count": "48"}, "not a storage"),
        ({"count": -1}, "not a storage"),
        ({"count": 1 << 100}, "not a storage"),
    ],
)
def test_tensors_that_do_not_lie_in_their_storage(refuses, file, changes, part):
    save(file, dassl(coop(**changes)))
    refuses(part)


def test_a_missing_storage(refuses, file):
    save(file, dassl(coop()), missing=[0])
    refuses("data/0")
    state = coop()
    arguments = list(state["ctx"].arguments)
    for other in (None, "storage", 7, [1]):
        arguments[0] = other
        state["ctx"] = Call(state["ctx"].function, *arguments)
        save(file, dassl(state))
        refuses("no proper shape")


def test_storages_that_are_not_needed_may_be_missing(tmp_path, file):
    save(file, dassl(coop()), missing=[1, 2])
    words = ("-o", tmp_path / "out", "--model", model_folder(tmp_path / "model"))
    assert start(file, *words).returncode == 0


def test_flipped_bytes_are_found(refuses, file):
    data = bytearray(save(file, dassl(coop())).read_bytes())
    place = data.index(noise(10, 4, WIDTH).tobytes())
    data[place + 100] ^= 1
    file.write_bytes(data)
    refuses("data/0", "CRC")


def test_names(refuses, file):
    save(file, dassl({"module.ctx": coop()["ctx"], "ctx": coop()["ctx"]}))
    refuses("module.")
    for name in (7, None, ("a",) * 50, b"ctx"):
        save(file, dassl({**coop(), name: coop()["ctx"]}))
        refuses("no tensor")
    for name in ("a\033[2J\nb", "x" * 5000, "\u202e"):
        save(file, dassl({**coop(), name: coop()["ctx"]}))
        refuses("holds prompt_learner.")
    save(file, dassl({**coop(), "ctx": 5}))
    refuses("ctx", "int")


# ---- Hostile pickles ----


@pytest.fixture
def trap(tmp_path):
    """A start() in which importing torch, or calling what the checkpoints below name, leaves a
    mark, and the path of the mark."""
    folder, mark = tmp_path / "trap", tmp_path / "mark"
    folder.mkdir()
    for name in ("torch", "evil", "dassl"):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    return lambda *words: start_process(*words, PYTHONPATH=str(folder)), mark


def hostile(mark):
    touch = f"open({str(mark)!r}, 'w').close()"
    shell = f"touch {mark}"
    return {
        "os.system": Call(Global("os", "system"), shell),
        "posix.system": Call(Global("posix", "system"), shell),
        "subprocess.Popen": Call(Global("subprocess", "Popen"), ["touch", str(mark)]),
        "builtins.exec": Call(Global("builtins", "exec"), touch),
        "builtins.eval": Call(Global("builtins", "eval"), touch),
        "evil.thing": Call(Global("evil", "thing"), 1),
        "torch.load": Call(Global("torch", "load"), "x"),
        "operator.attrgetter": Call(Call(Global("operator", "attrgetter"), "__class__"), ORDERED),
        "builtins.getattr": Call(Global("builtins", "getattr"), ORDERED, "__init__"),
        "numpy.load": Call(Global("numpy", "load"), "x", state={"a": 1}),
        "Unpickler.__reduce__": Call(Global("pickle", "Unpickler.__reduce__"), 1),
    }


@pytest.mark.parametrize("name", hostile("mark"))
def test_a_state_dict_with_foreign_objects_is_refused(refuses, tmp_path, file, trap, name):
    start_trapped, mark = trap
    bad = hostile(mark)[name]
    words = ("--model", model_folder(tmp_path / "model"))
    for state in ({**coop(), "ctx": bad}, {**coop(), "token_prefix": bad}):
        save(file, dassl(state))
        refuses(name.split("__")[0].rstrip("."), words=words)
    refuses("token_prefix", words=words, start=start_trapped)
    for content in (bad, {"state_dict": bad}, [bad]):
        save(file, content)
        refuses("instead of a dictionary")
    assert not mark.exists()


def test_foreign_objects_elsewhere_do_nothing(tmp_path, file, trap):
    start_trapped, mark = trap
    bad = list(hostile(mark).values())
    extra = {"optimizer": bad[0], "scheduler": {"successor": bad, "more": [tuple(bad)]}}
    save(file, dassl(coop(), **extra))
    out = tmp_path / "out.safetensors"
    done = start_trapped(file, "-o", out, "--model", model_folder(tmp_path / "model"))
    assert (done.returncode, done.stderr) == (0, "")
    check_pool(*read_safetensors(out), noise(10, 4, WIDTH)[None], JOINT, BLOCKS)
    assert not mark.exists()


def test_the_trap_works(tmp_path, trap):
    _, mark = trap
    emitter = Emitter()
    pickle.loads(b"\x80\x02" + emitter.emit(hostile(mark)["os.system"]) + b".")
    assert mark.exists()


def test_what_dassl_stores_beside_the_weights(imports, tmp_path):
    optimizer = Call(Global("torch.optim.sgd", "SGD"), state={"state": {}, "defaults": {"lr": 0.1}})
    state = Call(Global("collections", "defaultdict"), Global("__builtin__", "dict"))
    scalar = Call(Global("numpy.core.multiarray", "scalar"),
                  Call(Global("numpy", "dtype"), "f8", False, True), b"\0" * 8)
    successor = Call(Global("torch.optim.lr_scheduler", "CosineAnnealingLR"),
                     state={"optimizer": optimizer, "T_max": 50, "base_lrs": [0.002]})
    extra = {
        "optimizer": {"state": {0: {"momentum_buffer": tensor(noise(60, 4, WIDTH))}},
                      "param_groups": [{"lr": 0.002, "params": [0]}], "more": state},
        "scheduler": {"successor": successor, "last_epoch": 50, "_last_lr": [scalar]},
        "val_result": scalar,
        "tags": Call(Global("builtins", "set"), ["a"]),
    }
    tensors, metadata, errors = imports(
        coop(), "--model", model_folder(tmp_path / "model"), **extra)
    check_pool(tensors, metadata, noise(10, 4, WIDTH)[None], JOINT, BLOCKS)
    assert errors == ""


def raw(*parts):
    """A pickle of opcodes; what is no bytes is emitted."""
    emitter = Emitter()
    return b"\x80\x02" + b"".join(p if isinstance(p, bytes) else emitter.emit(p) for p in parts)


FOREIGN = Global("a", "b")
PICKLES = {
    "memo": raw(b"Nr\xff\xff\xff\x7f."),  # asks for memory for two thousand million objects
    "memo in text": raw(b"Np2000000000\n."),
    "key a million deep": raw(b"})" + b"\x85" * 1_000_000 + b"Ns."),
    "lists a million deep": raw(b"]" * 1_000_000 + b"a" * 999_999 + b"."),
    "100,000 names": raw(b"".join(b"ca%d\nb\n0" % n for n in range(100_000)) + b"N."),
    "long number": raw(b"\x8a\xff" + b"\x7f" * 255 + b"."),
    "long number, cut": raw(b"\x8b\xff\xff\xff\x7f."),
    "long text, cut": raw(b"X\xff\xff\xff\x7f."),
    "longer bytes, cut": raw(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f."),
    "not numbered": raw(b"h\x05."),
    "extension": raw(b"\x82\x01."),
    "buffer": raw(b"\x97."),
    "class as a dictionary": raw(ORDERED, b"}s."),
    "state of a class": raw(REBUILD, {"__defaults__": (1, 2, 3)}, b"b."),
    "slots of a class": raw(ORDERED, (None, {"items": 1}), b"b."),
    "slots of a dictionary": raw(ORDERED, b")R", (None, {"items": 1, "__class__": 3}), b"b."),
    "tensor of nothing": raw(REBUILD, b")R."),
    "slots of a tensor": raw(REBUILD, (1, 2, 3, 4, 5), b"R", (None, {"size": 1}), b"b."),
    "state of an object": raw(FOREIGN, b")\x81", {"x": 1}, b"b."),
    "slots of an object": raw(FOREIGN, b")\x81", (1, {"x": 1}), b"b."),
    "OBJ": raw(b"(", FOREIGN, 1, b"o."),
    "INST": raw(b"(", 1, b"ios\nsystem\n."),
    "call of a number": raw(7, b")R."),
    "storage of a text": raw("storage", b"Q."),
    "storage of numbers": raw((1, 2, 3, 4, 5), b"Q."),
    "foreign storage": raw(("storage", Global("os", "system"), "../../0", "cpu", 4), b"Q."),
    "storage in text": raw(b"Pname\n."),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_no_pickler_writes(refuses, file, name):
    save(file, None, raw=PICKLES[name])
    too_many = name in ("memo", "memo in text", "key a million deep", "100,000 names")
    refuses(str(file), "more objects" if too_many else "", start=start_process)


def test_attributes_do_not_hide_what_a_dictionary_holds(imports, tmp_path):
    state = ordered(coop())
    state.state = (None, {"items": 1, "get": 2, "__class__": 3})
    save(tmp_path / "x", {"state_dict": state})
    words = ("-o", tmp_path / "out", "--model", model_folder(tmp_path / "model"))
    assert start(tmp_path / "x", *words).returncode == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of texts with odd escapes
def test_random_damage():
    """Is refused or harmless."""
    emitter = Emitter()
    good = b"\x80\x02" + emitter.emit(dassl(coop())) + b"."
    random = numpy.random.default_rng(1)
    refused = 0
    for _ in range(2000):
        data = bytearray(good)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            data[place] = random.integers(0, 256)
        if random.random() < 0.2:
            del data[random.integers(0, len(data)):]
        try:
            names = tool.state_of(tool.unpickle(bytes(data)))
            tool.recognise(names)
            for name in names:
                tool.check_place(name, names[name])
        except tool.Refused as error:
            assert str(error)
            refused += 1
    assert 500 < refused < 2000


# ---- Usage ----


def test_help():
    done = start("--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("CHECKPOINT", "--output", "--model", "--text-side-only", "--sentence", "--name"):
        assert word in done.stdout


@pytest.mark.parametrize(
    "words, part",
    [
        ([], "CHECKPOINT"),
        (["x"], "--output"),
        (["x", "y", "-o", "z"], "y"),
        (["x", "-o"], "--output"),
        (["x", "-o", "y", "--wrong"], "--wrong"),
        (["x", "-o", "y", "--sentence", "a photo"], "{}"),
        (["x", "-o", "y", "--sentence", ""], "{}"),
        (["x", "-o", "y", "--sentence", "{} and {}"], "{}"),
        (["x", "-o", "y", "--sentence", b"\xff {}"], "--sentence"),
        (["x", "-o", "y", "--name", ""], "--name"),
        (["x", "-o", "y", "--name", "é" * 33], "64 bytes"),
        (["x", "-o", "y", "--name", b"\xff"], "--name"),
    ],
)
def test_usage(words, part):
    done = start(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("import_pool: ") and done.stderr.count("\n") == 1
    assert part in done.stderr
