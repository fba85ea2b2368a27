"""kill -9 at any moment, again and again: every change that was answered is there afterwards."""

import copy
import http.client
import os
import random
import signal
import threading

import pytest

from resources import BINARY, get, ok, put_pool, put_set, send, two_pools
from serving import Server, serving

SLOW = 5 if "thread" in BINARY else 3 if "address" in BINARY else 1
CHANGES = 200 // SLOW
KILLS = 20 // SLOW
KEPT_VERSIONS = 3  # --pool-versions
SETS = ["animals", "food", "x"]
POOLS = ["groups", "main"]
WORDS = ["cat", "dog", "cow", "owl", "pizza", "bread"]


class Named:
    """What the server must have of one kind, by name: {version: content}, and the current one."""

    def __init__(self, kept_versions):
        self.kept_versions = kept_versions
        self.names = {}
        self.default = None
        self.floor = 0

    def publish(self, name, content, default):
        contents, current = self.names.get(name, ({}, self.floor))
        version = max(contents, default=current) + 1
        kept = [*sorted(contents), version][-self.kept_versions :]
        self.names[name] = {n: {**contents, version: content}[n] for n in kept}, version
        self.set_default(name, default)

    def set_default(self, name, default):
        if default:
            self.default = name
        elif default is False and self.default == name:
            self.default = None

    def point(self, name, version):
        self.names[name] = self.names[name][0], version

    def remove(self, name):
        contents, _ = self.names.pop(name)
        self.floor = max(self.floor, *contents)
        self.set_default(name, False)


class Model:
    """The state of a server, so far as its clients were told."""

    def __init__(self):
        self.sets, self.pools = Named(1), Named(KEPT_VERSIONS)

    def observed(self):
        """As observe() finds it."""
        found = {}
        for name, (contents, version) in self.sets.names.items():
            found["set", name] = version, contents[version], self.sets.default == name
        for name, (contents, version) in self.pools.names.items():
            found["pool", name] = version, contents, self.pools.default == name
        return found


def observe(server):
    found = {}
    for each in get(server, "/v1/label-sets")["label_sets"]:
        document = get(server, f"/v1/label-sets/{each['name']}")
        found["set", each["name"]] = each["version"], document["labels"], each["default"]
    for each in get(server, "/v1/pools")["pools"]:
        contents = {version["version"]: version["sha256"] for version in each["versions"]}
        found["pool", each["name"]] = each["version"], contents, each["default"]
    return found


# ---- Changes: each changes a model, and returns what does the same to a server ----


def register(choice, model, _):
    name, labels = choice.choice(SETS), choice.sample(WORDS, 3)
    fields = choice.choice([{}, {"default": True}, {"default": False}])
    status = 200 if name in model.sets.names else 201
    model.sets.publish(name, labels, fields.get("default"))
    return lambda server: ok(put_set(server, name, labels, **fields), status)


def amend(choice, model, pools):
    if not model.sets.names:
        return register(choice, model, pools)
    name = choice.choice(sorted(model.sets.names))
    contents, version = model.sets.names[name]
    gone = choice.choice(contents[version])
    added = choice.choice([word for word in WORDS if word not in contents[version]])
    labels = [label for label in contents[version] if label != gone] + [added]
    model.sets.publish(name, labels, None)
    change = {"add": [added], "remove": [gone]}
    return lambda server: ok(send(server, "PATCH", f"/v1/label-sets/{name}", change))


def make_default(choice, model, pools):
    if not model.sets.names:
        return register(choice, model, pools)
    name, default = choice.choice(sorted(model.sets.names)), choice.random() < 0.5
    model.sets.set_default(name, default)
    change = {"default": default}
    return lambda server: ok(send(server, "PATCH", f"/v1/label-sets/{name}", change))


def upload(choice, model, pools):
    name, pool = choice.choice(POOLS), choice.choice(pools)
    default = choice.choice([None, True, False])
    query = "" if default is None else f"?default={str(default).lower()}"
    model.pools.publish(name, pool.sha256, default)
    return lambda server: ok(put_pool(server, name, pool, query), 201)


def roll_back(choice, model, pools):
    if not model.pools.names:
        return upload(choice, model, pools)
    name = choice.choice(sorted(model.pools.names))
    version = choice.choice(sorted(model.pools.names[name][0]))
    model.pools.point(name, version)
    path = f"/v1/pools/{name}/rollback?version={version}"
    return lambda server: ok(send(server, "POST", path))


def delete(choice, model, pools):
    kind = choice.choice([(model.sets, "/v1/label-sets"), (model.pools, "/v1/pools")])
    if not kind[0].names:
        return register(choice, model, pools)
    name = choice.choice(sorted(kind[0].names))
    kind[0].remove(name)

    def work(server):
        reply = send(server, "DELETE", f"{kind[1]}/{name}")
        assert reply.status == 204, reply.body

    return work


KINDS = [register, amend, amend, make_default, upload, upload, upload, roll_back, roll_back, delete]


# ---- The test ----


def change_until_killed(server, model, choice, pools, at_least):
    """So many changes, and others until a kill comes. The model with all that was answered, and
    the one that has the change besides which was under way."""
    killer, count = None, 0
    while True:
        after = copy.deepcopy(model)
        change = choice.choice(KINDS)(choice, after, pools)
        if count == at_least:
            killer = threading.Timer(choice.random() * 0.1, server.process.kill)
            killer.start()
        try:
            change(server)
        except (OSError, http.client.HTTPException):
            assert killer, server.read_errors()
            killer.join()
            return model, after, count
        model = after
        count += 1


def assert_restored(server, state, models):
    """The model that the server agrees with."""
    found = observe(server)
    model = next((each for each in models if each.observed() == found), None)
    assert model, (found, [each.observed() for each in models])
    kept = {digest for contents, _ in model.pools.names.values() for digest in contents.values()}
    assert set(os.listdir(state / "pools")) == {f"{digest}.safetensors" for digest in kept}
    assert os.listdir(state / "incoming") == []
    return model


@pytest.mark.timeout(600)
def test_killed_again_and_again(tmp_path):
    pools, state = two_pools(tmp_path, prompts=8), tmp_path / "state"
    choice = random.Random(20)
    models, done = [Model()], 0
    for _ in range(KILLS):
        server = Server("--state-dir", state, "--log-level", "warn")
        model = assert_restored(server, state, models)
        at_least = choice.randrange(CHANGES // KILLS)
        *models, count = change_until_killed(server, model, choice, pools, at_least)
        assert server.wait() == -signal.SIGKILL
        done += count
    while done < CHANGES:
        with serving("--state-dir", state) as server:
            model = assert_restored(server, state, models)
            for _ in range(10):
                choice.choice(KINDS)(choice, model, pools)(server)
                done += 1
            models = [assert_restored(server, state, [model])]
