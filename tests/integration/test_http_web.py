"""The page at / and the description of all endpoints at /openapi.json, against what the server
does."""

import base64
import hashlib
import html.parser
import http.client
import itertools
import json
import re
import shutil
import subprocess
import time

import pytest

from command_line import ROOT
from json_schema import errors, resolve
from pool_files import emoji_pool
from serving import (
    BOUNDARY,
    CAT,
    DOG,
    Server,
    assert_problem,
    at_once,
    form,
    serving,
    slow_labels,
)

PAGE = ROOT / "api/web/index.html"
DESCRIPTION = ROOT / "api/openapi.json"
DOCUMENTS = {
    "/": ("text/html; charset=utf-8", PAGE),
    "/openapi.json": ("application/json", DESCRIPTION),
}
EACH_DOCUMENT = pytest.mark.parametrize("path", DOCUMENTS)
METHODS = ("get", "put", "post", "patch", "delete")
JSON = {"Content-Type": "application/json"}
PNG = {"Content-Type": "image/png"}
IMAGE = {"data": base64.b64encode(DOG).decode()}
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pool folder."""
    made = tmp_path_factory.mktemp("folder")
    emoji_pool(made / "there.safetensors")
    emoji_pool(made / "all.safetensors", prompts=4, retrieval="topk_pooled")
    return made


@pytest.fixture(scope="module")
def server(folder):
    with serving("--pool-dir", folder, "--max-image-pixels", 1000000) as running:
        yield running


@pytest.fixture(scope="module")
def description():
    return json.loads(DESCRIPTION.read_text())


def operations(description):
    """(path, method, operation) of each."""
    for path, item in description["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


# ---- Both documents ----


@EACH_DOCUMENT
def test_it_is_what_the_tree_holds(server, path):
    kind, file = DOCUMENTS[path]
    reply = server.get(path)
    assert reply.status == 200
    assert reply.body == file.read_bytes()
    assert reply.headers["content-type"] == kind
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["etag"] == f'"{hashlib.sha256(reply.body).hexdigest()[:32]}"'
    assert server.get(path + "?any=thing").body == reply.body


@EACH_DOCUMENT
def test_what_the_client_has_is_not_sent_again(server, path):
    whole = server.get(path)
    etag = whole.headers["etag"]
    for given in etag, f"W/{etag}", f'"other", {etag}', "*":
        reply = server.get(path, {"If-None-Match": given})
        assert (reply.status, reply.body) == (304, b"")
        assert "content-type" not in reply.headers
        for name in "etag", "cache-control", "content-security-policy":
            assert reply.headers.get(name) == whole.headers.get(name)
    for given in '"other"', etag[1:-1], "":
        reply = server.get(path, {"If-None-Match": given})
        assert (reply.status, reply.body) == (200, whole.body)


@EACH_DOCUMENT
def test_a_connection_goes_on_after_either_answer(server, path):
    client = http.client.HTTPConnection("127.0.0.1", server.port)
    client.connect()
    used = client.sock
    asked = [("GET", {"If-None-Match": "*"}, 304), ("GET", {}, 200), ("HEAD", {}, 200)]
    for method, headers, status in asked:
        client.request(method, path, headers=headers)
        answer = client.getresponse()
        size = DOCUMENTS[path][1].stat().st_size
        assert len(answer.read()) == (size if (method, status) == ("GET", 200) else 0)
        assert answer.status == status
        assert answer.getheader("Content-Length") == str(size)
        assert client.sock is used
    client.close()


@EACH_DOCUMENT
def test_nothing_can_be_sent_there(server, path):
    reply = server.request("POST", path, "x")
    assert_problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "GET, HEAD"


def test_the_page_may_talk_to_its_server_only(server):
    policy = dict(
        part.strip().split(" ", 1)
        for part in server.get("/").headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "img-src": "'self' blob: data:",
        "style-src": "'unsafe-inline'",
        "script-src": "'unsafe-inline'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert "content-security-policy" not in server.get("/openapi.json").headers


# ---- The page ----


class Page(html.parser.HTMLParser):
    """Every start tag with its attributes and the names of those around it; script and style."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.open = []
        self.texts = {"script": "", "style": "", "title": ""}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes), tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in self.texts:
            self.texts[self.open[-1]] += data


@pytest.fixture(scope="module")
def page():
    return Page(PAGE.read_text())


def test_the_page_is_one_small_file(page):
    assert PAGE.stat().st_size < 25000
    for tag, attributes, _ in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            if name in ("src", "href", "action", "formaction", "data", "srcset", "poster"):
                assert value in ("data:,", "openapi.json"), f"<{tag} {name}={value}>"
    assert "://" not in PAGE.read_text()
    assert "url(" not in page.texts["style"] and "@import" not in page.texts["style"]


def test_the_page_says_what_its_parts_are(page):
    ids = [attributes["id"] for _, attributes, _ in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert ("html", {"lang": "en"}, ()) in page.tags and page.texts["title"]
    labelled = {attributes.get("for") for tag, attributes, _ in page.tags if tag == "label"}
    for tag, attributes, around in page.tags:
        for name in "for", "aria-describedby", "aria-labelledby":
            assert attributes.get(name, ids[0]) in ids
        if tag in ("input", "select", "textarea"):
            named = "label" in around or attributes["id"] in labelled
            assert named or "aria-label" in attributes, attributes
        if tag == "img":
            assert "alt" in attributes
    used = re.findall(r'(?:\$|show)\("([\w-]+)"', page.texts["script"])
    assert used and set(used) <= set(ids)


def test_the_script_of_the_page_can_be_read(page, tmp_path):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    script = tmp_path / "script.js"
    script.write_text(page.texts["script"])
    done = subprocess.run([node, "--check", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_asks_for_what_is_there(page, description):
    asked = re.findall(r'(?:ask|URL)\([`"]([^`"]+)[`"]', page.texts["script"])
    assert len(asked) >= 5
    for path in asked:
        assert "/" + re.sub(r"\$\{\w+\}", "{name}", path) in description["paths"]


# ---- The description, against the source ----


def source(*patterns):
    return "\n".join(path.read_text() for each in patterns for path in sorted(ROOT.glob(each)))


def test_every_route_is_described_and_no_other(description):
    routes = re.findall(r'\{"([A-Z]+)", "([^"]+)", ', source("api/rest/routes.c"))
    described = [(method.upper(), path) for path, method, _ in operations(description)]
    assert sorted(described) == sorted(routes)


def test_every_code_is_described_and_no_other(description):
    found = re.findall(r'[ (,{](\d{3}),\s*"([a-z_]+)"', source("api/rest/*.c", "server/*.c"))
    raised = {(int(status), code) for status, code in found} - {(499, "client_gone")}
    described = set()
    for name, response in description["components"]["responses"].items():
        schema = response.get("content", {}).get("application/problem+json", {}).get("schema")
        if schema:
            narrow = schema["allOf"][1]["properties"]
            (status,) = narrow["status"]["enum"]
            described |= {(status, code) for code in narrow["code"]["enum"]}
    assert described == raised
    enum = description["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert sorted(enum) == sorted({code for _, code in raised})


def test_the_fields_of_a_classification_are_described_everywhere(description):
    fields = re.findall(r'\{"(\w+)", classify_json_set_', source("api/rest/classify_json.c"))
    schemas = description["components"]["schemas"]
    assert sorted(schemas["ClassifyRequest"]["properties"]) == sorted(fields)
    fields.remove("images")
    parameters = description["paths"]["/v1/classify"]["post"]["parameters"]
    assert sorted(each["name"] for each in parameters) == sorted(fields)
    assert sorted(schemas["ClassifyForm"]["properties"]) == sorted([*fields, "image"])


def nodes(node, path=""):
    """(path, object) of every object below."""
    if isinstance(node, dict):
        yield path, node
    for key, below in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(below, (dict, list)):
            yield from nodes(below, f"{path}/{key}")


def test_the_description_hangs_together(description):
    used = set()
    for path, node in nodes(description):
        if "$ref" in node:
            resolve(description, node)
            used.add(node["$ref"])
    for kind, components in description["components"].items():
        for name in components:
            assert f"#/components/{kind}/{name}" in used or name == "MethodNotAllowed"
    names = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in description["tags"]}
    for path, _, operation in operations(description):
        assert operation["summary"] and set(operation["tags"]) <= tags
        parameters = operation.get("parameters", []) + description["paths"][path]["parameters"]
        named = [resolve(description, each) for each in parameters]
        assert "{name}" not in path or "path" in [each["in"] for each in named]
        assert len({(each["in"], each["name"]) for each in named}) == len(named)


def test_every_operation_has_an_example_and_all_of_them_are_valid(description):
    count = 0
    for path, node in nodes(description):
        if "example" in node and "schema" in node:
            assert errors(description, node["schema"], node["example"]) == [], path
            count += 1
    assert count > 20
    for path, method, operation in operations(description):
        answers = [resolve(description, each) for each in operation["responses"].values()]
        good = [each for each in answers[:1] if "content" in each]
        assert method == "delete" or all(
            "example" in media for each in good for media in each["content"].values()
        ), (path, method)


# ---- The description, against the server ----


class Caller:
    """Sends requests and holds each answer against the description."""

    def __init__(self, server, description):
        self.server = server
        self.description = description
        self.seen = set()

    def __call__(self, method, template, status, *, name="", query="", body=None, headers=None):
        path = template.replace("{name}", name) + (f"?{query}" if query else "")
        reply = self.server.request(method, path, body, headers or {})
        assert reply.status == status, reply.body
        self.check(reply, method, template)
        return reply

    def check(self, reply, method, template):
        operation = self.description["paths"][template][method.lower()]
        self.seen.add((template, method.lower(), reply.status < 400))
        assert str(reply.status) in operation["responses"]
        response = resolve(self.description, operation["responses"][str(reply.status)])
        self.check_headers(reply, response.get("headers", {}))
        if "content" not in response:
            assert reply.body == b"" and "content-type" not in reply.headers
            return
        kind = reply.headers["content-type"].split(";")[0]
        schema = response["content"][kind]["schema"]
        value = reply.json() if kind.endswith("json") else reply.body.decode()
        assert errors(self.description, schema, value) == []

    def check_headers(self, reply, described):
        for name, header in described.items():
            schema = resolve(self.description, header)["schema"]
            text = reply.headers[name.lower()]
            value = int(text) if schema["type"] == "integer" else text
            assert errors(self.description, schema, value) == []
        for name in "ETag", "Retry-After", "Allow":
            assert name in described or name.lower() not in reply.headers

    def refuse(self, template, method):
        """Any operation answers this."""
        self(method, template, 501, name="x", headers={"Transfer-Encoding": "gzip"})


@pytest.fixture
def call(server, description):
    return Caller(server, description)


def classify_answers(call):
    path = "/v1/classify"
    two = "labels=cat,dog"
    call("POST", path, 200, query=two, body=DOG, headers=PNG)
    call("POST", path, 200, query="labels=cat&labels=dog", body=DOG, headers=PNG)
    call("POST", path, 200, query=two + "&threshold=1", body=DOG, headers=PNG)
    prompted = {"pool": "there", "explain": True, "shortlist": 1, "labels": ["cat", "dog"]}
    for document in (
        {"images": [IMAGE, {"data": "no"}, IMAGE], **prompted},
        {"images": [IMAGE], "labels": ["cat"], "pool": "all", "explain": True},
        {"images": [{"data": "data:image/png;base64," + IMAGE["data"]}], "label_set": "pets"},
    ):
        call("POST", path, 200, body=json.dumps(document), headers=JSON)
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    fields = [("image", DOG), ("image", CAT), ("labels", "cat,dog"), ("sentence", "a {}")]
    call("POST", path, 200, body=form(*fields), headers=kind)
    call("POST", path, 400, body="{", headers=JSON)
    call("POST", path, 404, query="pool=nobody", body=DOG, headers=PNG)
    call("POST", path, 413, headers={**PNG, "Content-Length": str(1 << 40)})
    call("POST", path, 415, body=DOG, headers={"Content-Type": "text/plain"})
    call("POST", path, 415, query=two, body=b"?", headers=PNG)
    call("POST", path, 422, query=two, body=DOG[:100], headers=PNG)
    call("POST", path, 422, query="top_k=0", body=DOG, headers=PNG)
    slow = {"images": [IMAGE], "labels": slow_labels(next(NUMBERS), 1900), "timeout_ms": 1}
    call("POST", path, 504, body=json.dumps(slow), headers=JSON)


def label_set_answers(call):
    path, kind = "/v1/label-sets/{name}", {"name": "pets", "headers": JSON}
    labels = ["dog", {"name": "cat", "aliases": ["kitten"]}]
    call("PUT", path, 201, body=json.dumps({"labels": labels}), **kind)
    call("PUT", path, 200, body=json.dumps({"labels": labels, "pool": "none"}), **kind)
    call("PUT", path, 400, body="[", **kind)
    call("PUT", path, 409, body=json.dumps({"labels": ["a", "a"]}), **kind)
    only_new = {**JSON, "If-None-Match": "*"}
    call("PUT", path, 412, body=json.dumps({"labels": labels}), name="pets", headers=only_new)
    call("PUT", path, 415, body="x", name="pets")
    call("PUT", path, 422, body=json.dumps({"labels": []}), **kind)
    call("PUT", path, 422, body="{}", name="a+b", headers=JSON)
    call("PATCH", path, 200, body=json.dumps({"add": ["horse"], "remove": ["dog"]}), **kind)
    call("PATCH", path, 200, body=json.dumps({"default": False}), **kind)
    call("PATCH", path, 404, body=json.dumps({"add": ["x"]}), name="nobody", headers=JSON)
    call("PATCH", path, 409, body=json.dumps({"add": ["cat"]}), **kind)
    call("PATCH", path, 422, body=json.dumps({"remove": ["no"]}), **kind)
    etag = call("GET", path, 200, name="pets").headers["etag"]
    call("GET", path, 304, name="pets", headers={"If-None-Match": etag})
    call("GET", path, 404, name="nobody")
    call("GET", "/v1/label-sets", 200)


def pool_answers(call, folder):
    path, load, back = "/v1/pools/{name}", "/v1/pools/{name}/load", "/v1/pools/{name}/rollback"
    file = emoji_pool(folder / "again.file").read_bytes()
    call("POST", load, 200, name="there")
    call("POST", load, 404, name="nobody")
    call("POST", load, 422, name="none")
    emoji_pool(folder / "late.safetensors", seed=9)
    reply = call.server.request("POST", "/v1/pools/late/load")
    call.check(reply, "POST", load)  # 200 if the server has come upon it before
    call("PUT", path, 201, name="sent", query="default=true", body=file)
    call("PUT", path, 201, name="sent", body=file)
    call("PUT", path, 412, name="sent", body=file, headers={"If-Match": '"other"'})
    call("PUT", path, 422, name="sent", body=b"no pool")
    call("PUT", path, 422, name="sent", query="default=maybe", body=file)
    call("POST", back, 200, name="sent")
    call("POST", back, 200, name="sent", query="version=2")
    call("POST", back, 404, name="nobody")
    call("POST", back, 409, name="sent", query="version=7")
    call("POST", back, 422, name="sent", query="version=x")
    call("GET", path, 200, name="sent")
    call("GET", path, 404, name="nobody")
    call("GET", "/v1/pools", 200)


def test_answers_are_as_described(call, description, folder):
    pool_answers(call, folder)
    label_set_answers(call)
    classify_answers(call)
    for kind in "pools", "label-sets":
        path, name = f"/v1/{kind}/{{name}}", "sent" if kind == "pools" else "pets"
        call("DELETE", path, 412, name=name, headers={"If-Match": '"other"'})
        call("DELETE", path, 204, name=name)
        call("DELETE", path, 404, name=name)
    for path in "/livez", "/readyz", "/health", "/version", "/metrics", "/", "/openapi.json":
        call("GET", path, 200)
    for path in "/", "/openapi.json":
        call("GET", path, 304, headers={"If-None-Match": "*"})
    for path, method, _ in operations(description):
        call.refuse(path, method.upper())
    expected = {(p, m, good) for p, m, _ in operations(description) for good in (True, False)}
    assert call.seen == expected


def test_each_path_takes_the_described_methods_only(server, description):
    for path, item in description["paths"].items():
        reply = server.request("BREW", path.replace("{name}", "x"))
        assert_problem(reply, 405, "method_not_allowed")
        allowed = [method.upper() for method in METHODS if method in item]
        allowed += ["HEAD"] if "GET" in allowed else []
        assert sorted(reply.headers["allow"].split(", ")) == sorted(allowed)
        response = description["components"]["responses"]["MethodNotAllowed"]
        schema = response["content"]["application/problem+json"]["schema"]
        assert errors(description, schema, reply.json()) == []


def test_the_version_is_that_of_the_program(server, description):
    assert description["info"]["version"] == server.get("/version").json()["version"]


def test_an_answer_while_stopping_is_as_described(description):
    server = Server("--drain-delay-ms", 3000)
    call = Caller(server, description)
    call("GET", "/readyz", 200)  # it takes signals from then on
    server.signal()
    while server.get("/readyz").status == 200:
        time.sleep(0.01)
    call("GET", "/readyz", 503)
    call("GET", "/livez", 200)
    assert server.wait() == 0


def test_an_answer_of_a_busy_server_is_as_described(description):
    with serving("--threads", 1, "--max-queue-rows", 1) as server:
        call = Caller(server, description)
        replies = at_once(
            8, lambda i: server.post_form(("image", DOG), ("labels", ",".join(slow_labels(i))))
        )
        assert {reply.status for reply in replies} == {200, 429}
        for reply in replies:
            call.check(reply, "POST", "/v1/classify")


# ---- Bodies: what the schema takes the server takes, and the other way round ----


def sentences(value):
    return {"images": [IMAGE], "labels": ["a", "b"], "sentence": value}


CLASSIFY = {"images": [IMAGE], "labels": ["cat", "dog"]}
CLASSIFY_BODIES = [
    (True, CLASSIFY),
    (True, {"images": [IMAGE]}),
    (True, {**CLASSIFY, "top_k": 1, "threshold": 0, "timeout_ms": 30000, "pool": "none"}),
    (True, {**CLASSIFY, "threshold": 1, "explain": False, "shortlist": 0}),
    (True, sentences("a {}")),
    (True, sentences(["{}", "{ a {} }"])),
    (False, {"labels": ["cat"]}),
    (False, {"images": [], "labels": ["cat"]}),
    (False, {"images": [{}]}),
    (False, {"images": [{**IMAGE, "name": "x"}]}),
    (False, {**CLASSIFY, "labels": []}),
    (False, {**CLASSIFY, "labels": [" "]}),
    (False, {**CLASSIFY, "labels": "cat"}),
    (False, {**CLASSIFY, "top_k": 0}),
    (False, {**CLASSIFY, "top_k": "1"}),
    (False, {**CLASSIFY, "threshold": 1.1}),
    (False, {**CLASSIFY, "threshold": -0.1}),
    (False, {**CLASSIFY, "timeout_ms": 0}),
    (False, {**CLASSIFY, "pool": ""}),
    (False, {**CLASSIFY, "pool": "x" * 65}),
    (False, {**CLASSIFY, "explain": "true"}),
    (False, {**CLASSIFY, "shortlist": -1}),
    (False, {**CLASSIFY, "other": 1}),
    (False, sentences("none")),
    (False, sentences("{} and {}")),
    (False, sentences([])),
    (False, []),
]
LABEL_SET_BODIES = [
    (True, {"labels": ["a"]}),
    (True, {"labels": [{"name": "a"}, {"name": "b", "aliases": []}], "sentence": ["a {}"]}),
    (True, {"labels": ["a"], "pool": "none", "default": False, "timeout_ms": 60000}),
    (False, {}),
    (False, {"labels": []}),
    (False, {"labels": ["\n"]}),
    (False, {"labels": [{"aliases": ["a"]}]}),
    (False, {"labels": [{"name": "a", "more": 1}]}),
    (False, {"labels": [{"name": "a", "aliases": [1]}]}),
    (False, {"labels": ["a"], "sentence": "x"}),
    (False, {"labels": ["a"], "pool": None}),
    (False, {"labels": ["a"], "default": "true"}),
    (False, {"labels": ["a"], "timeout_ms": 0.5}),
    (False, {"labels": ["a"], "add": ["b"]}),
]
PATCH_BODIES = [
    (True, {"add": ["b"]}),
    (True, {"add": [{"name": "b", "aliases": ["c"]}], "remove": ["a"], "timeout_ms": 60000}),
    (True, {"default": False}),
    (False, {}),
    (False, {"timeout_ms": 1000}),
    (False, {"add": []}),
    (False, {"remove": []}),
    (False, {"remove": [{"name": "a"}]}),
    (False, {"add": ["b"], "sentence": "{}"}),
]


@pytest.mark.parametrize("valid, document", CLASSIFY_BODIES)
def test_bodies_of_classify(server, description, valid, document):
    schema = {"$ref": "#/components/schemas/ClassifyRequest"}
    assert (errors(description, schema, document) == []) is valid
    assert server.post_json(document).status == (200 if valid else 422)


def send(server, method, name, document):
    return server.request(method, f"/v1/label-sets/{name}", json.dumps(document), JSON).status


@pytest.mark.parametrize("valid, document", LABEL_SET_BODIES)
def test_bodies_of_label_sets(server, description, valid, document):
    schema = {"$ref": "#/components/schemas/LabelSetRequest"}
    assert (errors(description, schema, document) == []) is valid
    assert send(server, "PUT", f"set-{next(NUMBERS)}", document) == (201 if valid else 422)


@pytest.mark.parametrize("valid, document", PATCH_BODIES)
def test_bodies_of_changes(server, description, valid, document):
    name = f"set-{next(NUMBERS)}"
    assert send(server, "PUT", name, {"labels": ["a", "z"]}) == 201
    schema = {"$ref": "#/components/schemas/LabelSetPatch"}
    assert (errors(description, schema, document) == []) is valid
    assert send(server, "PATCH", name, document) == (200 if valid else 422)


@pytest.mark.parametrize(
    "name, valid",
    [("a", True), ("A.b_c-9", True), ("...", True), ("x" * 64, True)]
    + [("x" * 65, False), ("a+b", False), ("%C3%BC", False), ("a%20b", False)],
)
def test_names(server, description, name, valid):
    schema = {"$ref": "#/components/schemas/Name"}
    assert (errors(description, schema, name) == []) is valid
    assert send(server, "PUT", name, {"labels": ["a"]}) == (201 if valid else 422)
