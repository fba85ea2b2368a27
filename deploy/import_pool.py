#!/usr/bin/python3
"""Turns the prompts of a checkpoint of CoOp, MaPLe, PromptSRC or IVLP into a pool file: see --help.

Reads what Dassl writes (model.pth.tar-N, torch 1.6 or newer). Needs Python 3 and numpy, not torch.
The pool has as many prompts as are used at once, so all of them are chosen for every picture.
A checkpoint is a pickle, and a pickle can ask to call anything. Here nothing is ever imported for
it: the few names that tensors need stand for classes of this file, and every other name, such as
those of the optimizer that Dassl stores beside the weights, for a class of objects that do nothing.
A state_dict that holds one of these is refused.
"""
import argparse
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import pickletools
import re
import sys
import zipfile
from collections import namedtuple

import numpy

MAX_PICKLE_BYTES = 16 << 20  # a checkpoint of a whole CLIP has 0.2 MB
MAX_PICKLE_PARTS = 1 << 15  # tuples and names, 5,000 in such a one; a million end the process
MAX_ELEMENTS = 1 << 24
MAX_PROMPTS = 1024
MAX_POOL_BYTES = 1 << 30  # what the program reads

Storage = namedtuple("Storage", "origin dtype key count")  # dtype None: never read
Found = namedtuple("Found", "kind layers has_vision")  # layers: names, from the first block on
Model = namedtuple("Model", "where blocks text vision")  # projections in OpenAI's orientation

class Refused(Exception):
    """The message for whoever runs this."""

# ---- Pickles
class Inert:
    """An object of a class that only the checkpoint knows: whatever is done to it does nothing."""
    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def ignore(self, *_, **__):
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = add = ignore

class Mapping(dict):
    """For OrderedDict, without the attributes that a pickle could set on one."""
    __slots__ = ()
    __setstate__ = Inert.ignore

class Tensor:
    """Where the numbers of a tensor lie, as the checkpoint says; not checked yet."""
    __slots__ = ("storage", "offset", "size", "stride")
    __setstate__ = Inert.ignore

    def __init__(self, storage, offset, size, stride, *_):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

class Parameter:
    """A tensor that is trained: the tensor."""
    __setstate__ = Inert.ignore

    def __new__(cls, tensor, *_):
        return tensor

KNOWN = {"collections.OrderedDict": Mapping, "torch._utils._rebuild_tensor_v2": Tensor,
         "torch._utils._rebuild_parameter": Parameter}
STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}  # BF16: see widened()
STORAGES = {"torch.FloatStorage": "F32", "torch.HalfStorage": "F16",  # others are not read
            "torch.BFloat16Storage": "BF16", "torch.DoubleStorage": "F64"}

class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        """Never imports, and never calls the method that it replaces."""
        origin = f"{module}.{name}"
        return KNOWN.get(origin) or type("Inert", (Inert,), {"origin": origin})

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) != 5 or not isinstance(pid[2], str) \
                or not is_size(pid[4]):
            raise ValueError("it refers to something that is not a storage")
        origin = origin_of(pid[1])
        return Storage(origin, STORAGES.get(origin), pid[2], pid[4])

def unpickle(data):
    parts = 0
    try:
        for opcode, argument, _ in pickletools.genops(data):
            parts += opcode.name.startswith(("TUPLE", "GLOBAL", "STACK_GLOBAL", "INST"))
            if parts > MAX_PICKLE_PARTS or "PUT" in opcode.name and argument > len(data):
                raise ValueError("it has more objects than a checkpoint")
        return Unpickler(io.BytesIO(data), encoding="utf-8", errors="replace").load()
    except Exception as error:  # a bad pickle can raise anything
        raise Refused(f"data.pkl is damaged: {str(error)[:200] or type(error).__name__}") from None

def origin_of(value):
    return str(getattr(value, "origin", type(value).__name__))[:80]

def is_size(value):
    return type(value) is int and 0 <= value < 1 << 62

def is_shape(value):
    return isinstance(value, tuple) and len(value) <= 8 and all(map(is_size, value))

# ---- Files of tensors: `names` lists what they hold, floats() reads one
class Checkpoint:
    """A file of torch.save."""
    def __init__(self, path):
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise Refused(f"is damaged, or not of torch 1.6 or newer ({error}). If it is older and "
                          "you trust it, since loading it can run code, save it again with torch: "
                          "torch.save(torch.load(FILE, map_location='cpu'), NEW_FILE)") from None
        entries = {entry.filename: entry.file_size for entry in self.archive.infolist()}
        pickles = [name for name in entries if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(pickles) != 1 or entries[pickles[0]] > MAX_PICKLE_BYTES:
            raise Refused(f"has no single data.pkl of at most {MAX_PICKLE_BYTES} bytes")
        self.folder = pickles[0][:-len("data.pkl")]
        if self.folder + "byteorder" in entries and self.read("byteorder", 0, 3) != b"lit":
            raise Refused("was written on a big-endian machine")
        content = unpickle(self.read("data.pkl", 0, entries[pickles[0]]))
        self.names = state_of(content)
        self.epoch = content.get("epoch")

    def read(self, name, start, size):
        try:
            entry = self.archive.getinfo(self.folder + name)
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed, which torch.save never does")
            with self.archive.open(entry) as file:
                file.seek(start)
                data = file.read(size)
            if len(data) < size:
                raise ValueError(f"it is {size - len(data)} bytes too short")
            return data
        except (zipfile.BadZipFile, EOFError, KeyError, OSError, RuntimeError, ValueError) as error:
            raise Refused(f"{name} cannot be read: {error}") from None

    def floats(self, name):
        tensor = self.names[name]
        span = check_place(name, tensor)
        stored = numpy.dtype(STORED[tensor.storage.dtype])
        data = self.read(f"data/{tensor.storage.key}", tensor.offset * stored.itemsize,
                         span * stored.itemsize)
        steps = [step * stored.itemsize for step in tensor.stride]
        return widened(name, numpy.lib.stride_tricks.as_strided(
            numpy.frombuffer(data, stored), tensor.size, steps), tensor.storage.dtype)

class Safetensors:
    """A model file; what is wrong with it raises whatever numpy and json raise."""
    def __init__(self, path):
        self.bytes = numpy.memmap(path, numpy.uint8, "r")
        self.start = 8 + int.from_bytes(self.bytes[:8].tobytes(), "little")
        self.names = dict(json.loads(self.bytes[8:self.start].tobytes()))

    def floats(self, name):
        dtype, shape = self.names[name]["dtype"], self.names[name]["shape"]
        begin, end = (self.start + place for place in self.names[name]["data_offsets"])
        return widened(name, self.bytes[begin:end].view(STORED[dtype]).reshape(shape), dtype)

def check_place(name, tensor):
    """How many numbers of its storage a tensor spans; all of them are there."""
    storage, offset, size, stride = tensor.storage, tensor.offset, tensor.size, tensor.stride
    if not isinstance(storage, Storage) or not is_size(offset) or not is_shape(size) \
            or not is_shape(stride) or len(size) != len(stride):
        raise Refused(f"{name} has no proper shape and place")
    if storage.dtype is None:
        raise Refused(f"{name} is in a {storage.origin}, not of floating-point numbers")
    span = 1 + sum((n - 1) * step for n, step in zip(size, stride))
    if not 0 < math.prod(size) <= MAX_ELEMENTS or span > MAX_ELEMENTS:
        raise Refused(f"{name} has shape {list(size)}; must have 1 to {MAX_ELEMENTS} numbers")
    if offset + span > storage.count:
        raise Refused(f"{name} reaches number {offset + span} of a storage of {storage.count}")
    return span

def widened(name, values, dtype):
    if dtype == "BF16":
        values = (values.astype(numpy.uint32) << 16).view(numpy.float32)
    with numpy.errstate(over="ignore"):
        values = numpy.ascontiguousarray(values, numpy.float32)
    if not numpy.isfinite(values).all():
        raise Refused(f"{name} holds numbers that are not finite")
    return values

def state_of(content):
    """{name: Tensor}, without DataParallel's prefix, a prompt learner's own names with theirs."""
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        raise Refused(f"holds a {origin_of(state)} instead of a dictionary; a TorchScript model?")
    tensors = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) or not isinstance(name, str):
            shown = name[:80] if isinstance(name, str) else origin_of(name)
            raise Refused(f"its state_dict holds, as {shown}, a {origin_of(value)}, no tensor")
        tensors[name[len("module."):] if name.startswith("module.") else name] = value
    if len(tensors) != len(state):
        raise Refused("its state_dict holds a name with and without \"module.\"")
    return {LEARNER + n: t for n, t in tensors.items()} if "ctx" in tensors else tensors

# ---- What kind of prompts
LEARNER = "prompt_learner."
CONTEXT = LEARNER + "ctx"
COMPOUND = r"prompt_learner\.compound_prompts_text\.([0-9]{1,6})"
TEXT_BLOCK = r"text_encoder\.transformer\.resblocks\.([0-9]{1,6})\."
VISION_PROMPT = re.compile(r"image_encoder\.(.+\.)?VPT(_shallow)?|"
                           r"prompt_learner\.(proj|compound_prompt_projections)\..+")
UNDERSTOOD = re.compile(
    r"logit_scale|image_encoder\..+|prompt_learner\.(ctx|token_(prefix|suffix)|"
    r"(ZS_image_encoder|proj|compound_prompts_text|compound_prompt_projections)\..+)|"
    r"text_encoder\.(positional_embedding|text_projection|ln_final\.(weight|bias)|attn_mask|"
    r"token_embedding\.weight)|" + TEXT_BLOCK + r"(VPT_shallow|attn\.in_proj_(weight|bias)|"
    r"(ln_1|ln_2|attn\.out_proj|mlp\.c_fc|mlp\.c_proj)\.(weight|bias))")

def recognise(names):
    def some(start):
        return any(name.startswith(start) for name in names)
    if some(LEARNER + "meta_net."):
        raise Refused("is of CoCoOp: its prompts are made from each picture by a network "
                      "(meta_net), which a pool cannot hold")
    if CONTEXT not in names:
        raise Refused(f"has no {CONTEXT}: no prompts of CoOp, MaPLe, PromptSRC or IVLP")
    for name in names:
        if not UNDERSTOOD.fullmatch(name):
            raise Refused(f"holds {name:.80}, which none of CoOp, MaPLe, PromptSRC and IVLP has; "
                          "without it, scores would be wrong")
    kinds = [("MaPLe", (LEARNER + "proj.", LEARNER + "compound_")),
             ("PromptSRC", LEARNER + "ZS_image_encoder."),
             ("IVLP", ("text_encoder.", "image_encoder.")), ("CoOp", LEARNER)]
    kind = next(kind for kind, starts in kinds if some(starts))
    return Found(kind, layers_of(names), any(map(VISION_PROMPT.fullmatch, names)))

def layers_of(names):
    found = [(0, CONTEXT)]
    for first, pattern in [(0, TEXT_BLOCK + "VPT_shallow"), (1, COMPOUND)]:
        matches = filter(None, (re.fullmatch(pattern, name) for name in names))
        found += [(first + int(match[1]), match[0]) for match in matches]
    numbers, layers = zip(*sorted(found))
    if numbers != tuple(range(len(numbers))):
        raise Refused(f"has prompts for the text blocks {str(numbers)[1:-1]:.80}; each must come "
                      "once, without a gap")
    return layers

def read_layers(checkpoint, names):
    """[depth, prompts, width]"""
    layers = [checkpoint.floats(name) for name in names]
    if layers[0].ndim == 3:
        raise Refused(f"{CONTEXT} has shape {list(layers[0].shape)}: a context of its own for each "
                      "class of the training; a pool serves any labels and cannot hold these")
    for name, layer in zip(names, layers):
        if layer.ndim != 2 or len(layer) > MAX_PROMPTS or layer.shape != layers[0].shape:
            raise Refused(f"{name} has shape {list(layer.shape)}; expected [prompts, width] with "
                          f"at most {MAX_PROMPTS} prompts, the same for all text blocks")
    return numpy.stack(layers)

def default_sentence(kind, prompts):
    """CoOp replaces all of its first words, the others as many of these as there are prompts."""
    words = [] if kind == "CoOp" else "a photo of a".split()[prompts:]
    return " ".join(words + ["{}."])

# ---- The model that the prompts are for
LAYOUTS = [  # text projection, visual projection, whether they are transposed, text blocks
    ("text_encoder.text_projection", "image_encoder.proj", False, "text_encoder.transformer."),
    ("text_projection.weight", "visual_projection.weight", True, "text_model.encoder."),
    ("text_projection", "visual.proj", False, "transformer."),
    ("text.text_projection", "visual.proj", False, "text.transformer."),
]

def read_model(source, where):
    """None where it lacks the projections of a CLIP model."""
    for prefix, (text, vision, transposed, tower) in itertools.product(("", "module."), LAYOUTS):
        if prefix + text not in source.names or prefix + vision not in source.names:
            continue
        pattern = re.escape(prefix + tower) + r"(?:resblocks|layers)\.([0-9]{1,6})\.(?!VPT)"
        numbers = {int(m[1]) for m in (re.match(pattern, name) for name in source.names) if m}
        if max(numbers, default=-2) != len(numbers) - 1:
            raise Refused(f"has {len(numbers)} text blocks, not numbered from 0 on")
        read = [source.floats(prefix + name) for name in (text, vision)]
        if any(matrix.ndim != 2 for matrix in read) or read[0].size == 0:
            raise Refused("its projections are not matrices")
        return Model(where, len(numbers), *(matrix.T if transposed else matrix for matrix in read))
    return None

def model_of_folder(folder):
    """Of the file that the program would open."""
    here = os.listdir(folder)
    names = ["open_clip_model"] if "open_clip_config.json" in here else []
    names += ["model", "open_clip_model", "open_clip_pytorch_model"]
    name = next((name for name in names if f"{name}.safetensors" in here), "model")
    path = os.path.join(folder, f"{name}.safetensors")
    try:
        model = read_model(Safetensors(path), path)
    except (Refused, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(f"{path}: damaged: {error}") from None
    if not model:
        raise Refused(f"{path}: lacks the projections of a CLIP model")
    return model

def check_same(own, given):
    """But for the rounding of half precision, which PromptSRC's average does once an epoch."""
    if own.blocks != given.blocks:
        raise Refused(f"has {own.blocks} text blocks, but {given.where} has {given.blocks}")
    for what, a, b in [("text", own.text, given.text), ("vision", own.vision, given.vision)]:
        typical = math.sqrt(numpy.square(b, dtype=numpy.float64).mean())
        if a.shape != b.shape or not numpy.allclose(a, b, rtol=0.01, atol=0.001 * typical):
            raise Refused(f"its {what} projection, {list(a.shape)}, is not that of {given.where}, "
                          f"{list(b.shape)}: the prompts were trained with another model")

def find_model(checkpoint, kind, folder):
    """And whether its projections are the very numbers of the model."""
    own = read_model(checkpoint, "the checkpoint")
    given = model_of_folder(folder) if folder else None
    if own and given:
        check_same(own, given)
    if given:
        return given, True
    if not own:
        raise Refused("holds the prompts but not the model; name its folder with --model DIR")
    # PromptSRC stores an average of all weights over its epochs, which rounds the frozen ones.
    return own, kind != "PromptSRC" and all(
        checkpoint.names[name].storage.dtype == "F32" for name in LAYOUTS[0][:2])

# ---- The pool
def make_pool(layers, model):
    depth, prompts, width = layers.shape
    if width != model.text.shape[0] or depth > model.blocks:
        raise Refused(f"has prompts of width {width} for {depth} text blocks, but {model.where} "
                      f"has width {model.text.shape[0]} and {model.blocks} text blocks")
    groups, joint = 1 if depth == 1 else model.blocks, model.text.shape[1]
    if 4 * groups * prompts * (width + joint) > MAX_POOL_BYTES:
        raise Refused(f"the pool would have more than {MAX_POOL_BYTES} bytes")
    values = numpy.zeros((groups, prompts, 1, width), "<f4")
    values[:depth, :, 0] = layers
    keys = numpy.zeros((groups, prompts, joint), "<f4")
    keys[:, numpy.arange(prompts), numpy.arange(prompts) % joint] = 1  # any: all are chosen
    return {"pool.keys": keys, "pool.values": values,
            "query_mean": numpy.zeros((model.blocks, joint), "<f4")}

def make_metadata(words, epoch, found, layers, exact_model):
    depth, prompts, _ = layers.shape
    training = {"imported_from": found.kind, "file": os.path.basename(words.checkpoint),
                "epoch": epoch if is_size(epoch) else None,
                "text_side_only": found.has_vision}
    metadata = {"cluster_space": "raw", "clusters": "1", "depth": str(depth),
                "format": "attriprompt.pool/1", "per_cluster": str(prompts), "pos0": "1",
                "query_space": "joint", "retrieval": "distinct",
                "sentence": words.sentence or default_sentence(found.kind, prompts),
                "training": json.dumps(training)}
    if words.name:
        metadata["name"] = words.name
    if exact_model:
        floats = [matrix.astype("<f4").tobytes() for matrix in exact_model[2:]]
        metadata["model_fingerprint"] = hashlib.sha256(b"".join(floats)).hexdigest()
    return metadata

def write_pool(path, tensors, metadata):
    """The path holds the old file or the new one, never a part."""
    header, offset = {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        with open(unfinished, "xb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.writelines(tensor.tobytes() for tensor in tensors.values())
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.remove(unfinished)
        raise

# ---- The command
def say(message):
    """One line that holds nothing a checkpoint could steer a terminal with."""
    message = "".join(c if c.isprintable() else "?" for c in message)
    print(f"import_pool: {message}", file=sys.stderr)

class Parser(argparse.ArgumentParser):
    def error(self, message):
        say(f"{message}; see --help")
        sys.exit(2)

def read_words(words):
    parser = Parser(prog="import_pool.py", description="Turns prompts of CoOp (with the class name "
                    "at the end), MaPLe, PromptSRC or IVLP into a pool file.")
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="such as model.pth.tar-50")
    add("-o", "--output", metavar="POOL", required=True, help="such as mine.safetensors")
    add("--model", metavar="DIR", help="folder of the CLIP model that the prompts were trained "
        "with; needed where the checkpoint does not hold it")
    add("--text-side-only", action="store_true", help="import the text prompts of a checkpoint "
        "that has prompts for pictures too; scores will differ")
    add("--sentence", help="what follows the prompts, {} standing for the label; default: what "
        "the prompts leave of \"a photo of a {}.\"")
    add("--name", help="what the pool calls itself; default: as its file")
    words = parser.parse_args(words)
    if not f"{words.sentence}{words.name}".isprintable():
        parser.error("--sentence and --name must be printable UTF-8")
    if words.sentence is not None and words.sentence.count("{}") != 1:
        parser.error("--sentence must have exactly one {} for the label")
    if words.name is not None and not 1 <= len(words.name.encode()) <= 64:
        parser.error("--name must have 1 to 64 bytes")
    return words

def import_pool(words):
    checkpoint = Checkpoint(words.checkpoint)
    found = recognise(checkpoint.names)
    if found.has_vision and not words.text_side_only:
        raise Refused(f"is of {found.kind} and has prompts for pictures too, which a pool cannot "
                      "hold; --text-side-only imports the rest, with other scores")
    layers = read_layers(checkpoint, found.layers)
    model, exact = find_model(checkpoint, found.kind, words.model)
    metadata = make_metadata(words, checkpoint.epoch, found, layers, model if exact else None)
    if os.path.exists(words.output) and os.path.samefile(words.output, words.checkpoint):
        raise Refused("is the file to write, too")
    write_pool(words.output, make_pool(layers, model), metadata)
    if found.has_vision:
        say("warning: left the prompts for pictures out; scores will differ from the checkpoint's")
    if not exact:
        say("note: wrote no model_fingerprint, since the checkpoint's copy of the model is rounded "
            "or not whole; --model DIR gives one")
    depth, prompts, width = layers.shape
    print(f"{words.output}: {found.kind}, {prompts} prompts of width {width} in {depth} of "
          f"{model.blocks} text blocks, sentence \"{metadata['sentence']}\"")

def main():
    words = read_words(sys.argv[1:])
    sys.stdout.reconfigure(errors="surrogateescape")
    try:
        import_pool(words)
        return 0
    except OSError as error:
        say(f"{error.filename or words.checkpoint}: {error.strerror}")
    except (Refused, MemoryError) as error:
        say(f"{words.checkpoint}: {str(error) or 'not enough memory'}")
    return 1

if __name__ == "__main__":
    sys.exit(main())
