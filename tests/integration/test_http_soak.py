"""Many clients with mixed work while label sets and pools change under them.

Every answer must equal what the command line says of the versions that it names. Short here; the
environment variable ATTRIPROMPT_SOAK makes it as many seconds long, with 64 clients, and then
memory must stay flat after a third of them. pytest -s shows what was seen.
"""

import base64
import collections
import json
import math
import os
import random
import re
import threading
import time
from urllib.parse import urlencode

import pytest

from command_line import BINARY, SAMPLES, run_json, sample_pictures
from pool_files import emoji_pool, read_safetensors, write_pool
from serving import BOUNDARY, form, serving

SECONDS = float(os.environ.get("ATTRIPROMPT_SOAK", 0))
LONG = SECONDS > 0
SLOW = "release" not in str(BINARY)
CLIENTS = 64 if LONG else 12
LABELS = (SAMPLES / "labels-30.txt").read_text().split()
BASE, EXTRA = LABELS[:18], LABELS[18:]
SETS = [f"set-{i}" for i in range(5)]
POOLS = ["one", "two"]
LOGIT_TOLERANCE = 1e-4  # largest difference seen: 7.6e-6


def resident_kib(server):
    text = open(f"/proc/{server.process.pid}/status", encoding="ascii").read()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two pools of the same choices and different prompts, by a letter."""
    folder = tmp_path_factory.mktemp("soak")
    first = emoji_pool(folder / "first.safetensors", name="first")
    tensors, metadata = read_safetensors(first)
    second = folder / "second.safetensors"
    fixed = {key: metadata[key] for key in ("clusters", "per_cluster", "depth")}
    values = [tensors["pool.values"] * 4, tensors["pool.keys"], tensors["query_mean"]]
    write_pool(second, *values, name="second", **fixed)
    return {"A": first, "B": second}


@pytest.fixture(scope="module")
def truth(files):
    """What the command line says: of no pool and of each file, picture -> label -> logit."""
    pictures = sample_pictures()
    table = {}
    for key, pool in {None: [], **{k: ["--pool", v] for k, v in files.items()}}.items():
        said = run_json("classify", "--labels", ",".join(LABELS), *pool, *pictures)
        table[key] = {
            path.name: dict(zip(said["labels"], result["logits"]))
            for path, result in zip(pictures, said["results"])
        }
    return table


class Changes:
    """Changes label sets and pools at random, and knows what every version held."""

    def __init__(self, server, files, seed):
        self.server = server
        self.files = {key: path.read_bytes() for key, path in files.items()}
        self.random = random.Random(seed)
        self.labels = {}  # (set, version) -> labels
        self.pools = {}  # (pool, version) -> letter of its file
        self.current = {}  # set -> its labels
        self.counts = collections.Counter()

    def call(self, method, path, body=None, kind="application/json"):
        reply = self.server.request(method, path, body, {"Content-Type": kind})
        self.counts[f"{method} {reply.status}"] += 1
        return reply

    def put(self, name):
        labels = BASE + self.random.sample(EXTRA, self.random.randint(1, 6))
        body = {"labels": labels, "pool": self.random.choice(POOLS + ["none"])}
        reply = self.call("PUT", f"/v1/label-sets/{name}", json.dumps(body))
        assert reply.status in (200, 201), reply.body
        self.labels[name, reply.json()["version"]] = self.current[name] = labels

    def patch(self, name):
        labels = self.current[name]
        extra = [label for label in EXTRA if label not in labels]
        added = self.random.sample(extra, min(len(extra), 2))
        removed = self.random.sample(labels, 2)
        body = json.dumps({"add": added, "remove": removed})
        reply = self.call("PATCH", f"/v1/label-sets/{name}", body)
        assert reply.status == 200, reply.body
        labels = [label for label in labels if label not in removed] + added
        self.labels[name, reply.json()["version"]] = self.current[name] = labels

    def upload(self, name):
        key = self.random.choice("AB")
        reply = self.call("PUT", f"/v1/pools/{name}", self.files[key], "application/octet-stream")
        assert reply.status == 201, reply.body
        self.pools[name, reply.json()["version"]] = key

    def roll_back(self, name):
        reply = self.call("POST", f"/v1/pools/{name}/rollback")
        assert reply.status in (200, 409), reply.body

    def come_and_go(self):
        self.put("passing")
        self.upload("passing")
        for path in ("/v1/label-sets/passing", "/v1/pools/passing"):
            assert self.call("DELETE", path).status == 204

    def start(self):
        for name in POOLS:
            self.upload(name)
        for name in SETS:
            self.put(name)

    def one(self):
        what = self.random.random()
        if what < 0.3:
            self.put(self.random.choice(SETS))
        elif what < 0.6:
            self.patch(self.random.choice(SETS))
        elif what < 0.75:
            self.upload(self.random.choice(POOLS))
        elif what < 0.9:
            self.roll_back(self.random.choice(POOLS))
        else:
            self.come_and_go()


def classify(server, picture, options, body):
    """The same request in one of three bodies."""
    data = picture.read_bytes()
    if body == "raw":
        kind = "image/png" if picture.suffix == ".png" else "image/jpeg"
        path = "/v1/classify?" + urlencode(options)
        return server.request("POST", path, data, {"Content-Type": kind})
    if body == "form":
        fields = [("image", data)] + [(name, str(value)) for name, value in options.items()]
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return server.request("POST", "/v1/classify", form(*fields), {"Content-Type": kind})
    document = {"images": [{"data": base64.b64encode(data).decode()}], **options}
    return server.post_json(document)


class Client:
    """Classifies until told to stop; keeps what it was told."""

    def __init__(self, server, seed):
        self.server = server
        self.random = random.Random(seed)
        self.statuses = collections.Counter()
        self.answers = []

    def one(self):
        picture = self.random.choice(sample_pictures())
        options = {"label_set": self.random.choice(SETS * 4 + ["passing"]), "top_k": 40}
        if self.random.random() < 0.5:
            options["pool"] = self.random.choice(POOLS + ["none"])
        body = self.random.choice(["raw", "form", "json"])
        reply = classify(self.server, picture, options, body)
        self.statuses[reply.status] += 1
        if reply.status == 200:
            document = reply.json()
            made = [document["label_set"], document["pool"]]
            versions = [(each["name"], each["version"]) if each else None for each in made]
            self.answers.append((picture.name, *versions, document["results"][0]["predictions"]))

    def run(self, stop):
        while not stop.is_set():
            self.one()


def check(answer, changes, truth):
    """The largest difference of a logit from what the command line says."""
    picture, label_set, pool, predictions = answer
    labels = changes.labels[label_set]
    expected = truth[changes.pools[pool] if pool else None][picture]
    assert sorted(each["label"] for each in predictions) == sorted(labels), answer
    total = sum(math.exp(expected[label] - max(expected.values())) for label in labels)
    worst = 0
    for each in predictions:
        logit = expected[each["label"]]
        worst = max(worst, abs(each["logit"] - logit))
        score = math.exp(logit - max(expected.values())) / total
        assert abs(each["score"] - score) < LOGIT_TOLERANCE, answer
    assert worst < LOGIT_TOLERANCE, answer
    return worst


def test_answers_are_those_of_the_versions_they_name(files, truth, tmp_path):
    length = SECONDS if LONG else 4
    options = ["--log-level", "warn", "--state-dir", tmp_path / "state"]
    options += ["--composition-cache-bytes", 8 << 20]  # full, and so flat, after some seconds
    with serving(*options) as server:
        changes = Changes(server, files, 1)
        changes.start()
        clients = [Client(server, 100 + i) for i in range(CLIENTS)]
        stop = threading.Event()
        failures = []

        def guarded(work):
            try:
                work()
            except BaseException as failure:
                failures.append(failure)
                stop.set()

        def change():
            while not stop.is_set():
                changes.one()
                time.sleep(0.02)

        works = [change] + [lambda client=client: client.run(stop) for client in clients]
        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        resident = []
        for thread in threads:
            thread.start()
        for _ in range(int(length * 4)):
            stop.wait(0.25)
            resident.append(resident_kib(server))
        stop.set()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    statuses = sum((client.statuses for client in clients), collections.Counter())
    answers = [answer for client in clients for answer in client.answers]
    assert set(statuses) <= {200, 404}, statuses
    assert len(answers) > (10 if SLOW else 100)
    worst = max(check(answer, changes, truth) for answer in answers)
    third = resident[len(resident) // 3]
    print(f"\n{len(answers)} answers {dict(statuses)}, changes {dict(changes.counts)}")
    print(f"largest difference of a logit {worst:.2e}")
    print(f"resident after a third {third} KiB, most after that {max(resident[len(resident)//3:])}")
    if LONG:
        assert max(resident[len(resident) // 3 :]) < third + 8 * 1024
