"""Every rule of the lint fires on a small bad example and stays silent on a good one."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import lint  # noqa: E402

LONG_BODY = "int noun_x(void)\n{\n" + "    noun_y();\n" * 99 + "}\n"
GUARD = "#ifndef ENGINE_NOUN_H\n#define ENGINE_NOUN_H\n{}\n#endif\n"
SHELL = "#!/bin/sh\n"

# rule: (bad files, the path and line it must name, good files)
EXAMPLES = {
    "format": (
        {"engine/noun.c": "int x;\nint  y;\n"},
        ("engine/noun.c", 2),
        {"engine/noun.c": "int x;\nint y;\n"},
    ),
    "include": (
        {"engine/noun.c": '\n#include "server/job.h"\n', "server/job.h": ""},
        ("engine/noun.c", 2),
        {"server/noun.c": '#include "server/job.h"\n', "server/job.h": ""},
    ),
    "third_party": (
        {"engine/noun.c": "#include <stdio.h>\n#include <uv.h>\n"},
        ("engine/noun.c", 2),
        {"server/noun.c": "#include <uv.h>\n#include <sys/stat.h>\n"},
    ),
    "file_length": (
        {"engine/noun.c": "\n" * 801},
        ("engine/noun.c", 1),
        {"engine/noun.c": "\n" * 800},
    ),
    "function_length": (
        {"engine/noun.c": "\n" + LONG_BODY},
        ("engine/noun.c", 2),
        {"engine/noun.c": LONG_BODY.replace("noun_y();", "", 1).replace("    \n", "", 1)},
    ),
    "stem": (
        {"engine/noun.c": "", "server/noun.h": ""},
        ("server/noun.h", 1),
        {"engine/noun.c": "", "engine/noun.h": ""},
    ),
    "name": (
        {"engine/noun.c": "static int a(void)\n{\n}\n\nint other(int x,\n          int y)\n{\n}\n"},
        ("engine/noun.c", 5),
        {"engine/noun_fast.c": '#include "engine/noun.h"\n\nint noun_x(void)\n{\n}\n'},
    ),
    "header_name": (
        {"engine/noun.h": "int noun_x(void);\nvoid *other(int x);\n"},
        ("engine/noun.h", 2),
        {"engine/noun.h": "typedef int (*sort)(int);\nint noun_x(int (*f)(int));\nMACRO(x);\n"},
    ),
    "guard": (
        {"engine/noun.h": GUARD.replace("ENGINE_NOUN", "NOUN")},
        ("engine/noun.h", 1),
        {"engine/noun.h": GUARD},
    ),
    "typedef": (
        {"engine/noun.h": "\ntypedef struct noun noun_t;\n"},
        ("engine/noun.h", 2),
        {"engine/noun.h": "/* typedef struct */\ntypedef struct noun *(*noun_maker)(void);\n"},
    ),
    "end_of_process": (
        {"engine/noun.c": "\n\n    exit(1);\n"},
        ("engine/noun.c", 3),
        {"engine/noun.c": 'static_assert(1, "exit(1)"); /* abort() */', "server/main.c": "exit(1)"},
    ),
    "unfinished": (
        {"README.md": "first\nTO" "DO later\n"},
        ("README.md", 2),
        {"README.md": "mktemp XX" "XXXX\n"},
    ),
    "machine_path": (
        {"README.md": "see /wo" "rk/x\n"},
        ("README.md", 1),
        {"README.md": "see ./{0}/x and net/{0}/x\n".format("work")},
    ),
    "width": (
        {"engine/noun.c": "\n" + "x" * 101 + "\n"},
        ("engine/noun.c", 2),
        {"engine/noun.c": "é" * 100 + "\n"},
    ),
    "white_space": (
        {"engine/noun.c": "int x;\nint y; \n"},
        ("engine/noun.c", 2),
        {"engine/noun.c": "int x;\nint y;\n"},
    ),
    "conflict": (
        {"README.md": "first\n<<<<" "<<< HEAD\n"},
        ("README.md", 2),
        {"README.md": "first <<<<" "<<< HEAD\n=======\n>>>>" ">>>>\n"},
    ),
    "python": (
        {"tests/noun.py": "x = 1\ny = = 2\n"},
        ("tests/noun.py", 2),
        {"tests/noun.py": "x: int = 1\n", "README.md": "y = = 2\n"},
    ),
    "shell": (
        {"deploy/noun.sh": SHELL + "echo $1\n"},
        ("deploy/noun.sh", 2),
        {"deploy/noun.sh": SHELL + 'echo "$1"\n'},
    ),
}

TOOLS = {"format": "clang-format-14", "shell": "shellcheck"}


def places(rule, files):
    return [(path, line) for path, line, _ in lint.RULES[rule](lint.Tree(files))]


def test_every_rule_has_an_example():
    assert set(EXAMPLES) == set(lint.RULES)


@pytest.mark.parametrize("rule", EXAMPLES)
def test_rule(rule):
    if rule in TOOLS and not shutil.which(TOOLS[rule]):
        pytest.skip(f"{TOOLS[rule]} is not installed")
    bad, place, good = EXAMPLES[rule]
    assert places(rule, bad) == [place]
    assert places(rule, good) == []


def test_one_file_knows_a_library():
    files = {"engine/a.c": "#include <png.h>\n", "engine/b.c": "\n#include <png.h>\n"}
    assert places("third_party", files) == [("engine/b.c", 2)]


def test_no_library_in_a_header():
    files = {"server/loop.h": "#include <uv.h>\n", "engine/a.c": "#include <surprise.h>\n"}
    assert places("third_party", files) == [("server/loop.h", 1), ("engine/a.c", 1)]


@pytest.mark.parametrize(
    "path, header, allowed",
    [
        ("engine/base/buf.c", "engine/gemm.h", False),
        ("config/config.c", "engine/base/status.h", True),
        ("config/config.c", "engine/engine.h", False),
        ("server/worker.c", "engine/engine.h", True),
        ("server/worker.c", "engine/gemm.h", False),
        ("server/worker.c", "api/rest/routes.h", False),
        ("server/main.c", "api/rest/routes.h", True),
        ("api/rest/classify_job.c", "server/loop.h", False),
        ("api/rest/classify_job.c", "server/request.h", True),
        ("tests/unit/test_gemm.c", "engine/gemm.h", True),
    ],
)
def test_who_may_include_whom(path, header, allowed):
    files = {path: f'#include "{header}"\n', header: ""}
    assert places("include", files) == ([] if allowed else [(path, 1)])


def test_a_companion_header_may_use_the_stem_it_extends():
    files = {"engine/image_codec.h": "int image_open(void);\n", "engine/image.h": ""}
    assert places("header_name", files) == []
    del files["engine/image.h"]
    assert places("header_name", files) == [("engine/image_codec.h", 1)]


def test_function_after_a_broken_signature():
    text = "#define X 1\n\nstatic const char *\nnoun_long(int a,\n          int b)\n"
    text += "{\n    if (a) {\n    }\n}\n"
    (function,) = lint.functions_of(text)
    assert (function.name, function.is_static, function.body_lines) == ("noun_long", True, 4)
