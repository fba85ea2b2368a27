#!/usr/bin/python3
"""Checks the rules of the tree that a compiler does not: format, includes, lengths, names.

Prints "file:line: rule: what is wrong" for each finding; the last line counts them. The exit status
is 1 if there is any. Looks at the files that git knows and at new ones it does not ignore.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

MAX_COLUMNS = 100
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 100

# Who may include whom: an entry that ends in "/" is a folder with all below it. The longest
# matching row counts.
MAY_INCLUDE = {
    "engine/": ["engine/"],
    "engine/base/": ["engine/base/"],
    "config/": ["config/", "engine/base/"],
    "server/": ["server/", "engine/engine.h", "engine/base/", "config/"],
    "server/main.c": ["server/", "engine/engine.h", "engine/base/", "config/", "api/"],
    "api/": [
        "api/",
        "engine/engine.h",
        "engine/base/",
        "config/",
        "server/clock.h",
        "server/exposition.h",
        "server/job.h",
        "server/label_cache.h",
        "server/label_set.h",
        "server/metrics.h",
        "server/metrics_page.h",
        "server/pool_folder.h",
        "server/registry.h",
        "server/reply.h",
        "server/request.h",
        "server/router.h",
        "server/served_pool.h",
        "server/service.h",
        "server/snapshot.h",
        "server/store.h",
        "server/workers.h",
    ],
    "tests/": ["engine/", "config/", "server/", "api/", "tests/"],
}

# Third-party headers: where they may be included. Never in a header; with "one file", by a single
# .c file of the folder, so that the library stays replaceable. Tests are free.
THIRD_PARTY = {
    "cblas.h": (["engine/"], "one file"),
    "openblas_config.h": (["engine/"], "one file"),
    "jpeglib.h": (["engine/"], "one file"),
    "jerror.h": (["engine/"], "one file"),
    "png.h": (["engine/"], "one file"),
    "webp/decode.h": (["engine/"], "one file"),
    "webp/demux.h": (["engine/"], "one file"),
    "utf8proc.h": (["engine/"], "one file"),
    "nettle/sha2.h": (["engine/base/"], "one file"),
    "jansson.h": (["engine/", "config/", "api/"], "any file"),
    "uv.h": (["server/"], "any file"),
    "microhttpd.h": (["server/"], "any file"),
    "sqlite3.h": (["server/"], "one file"),
}

SYSTEM_HEADERS = set(
    """
    assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h locale.h math.h
    setjmp.h signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h
    stdnoreturn.h string.h tgmath.h threads.h time.h uchar.h wchar.h wctype.h
    dirent.h fcntl.h getopt.h langinfo.h libgen.h netdb.h poll.h pthread.h pwd.h sched.h strings.h
    termios.h unistd.h
    arpa/inet.h net/if.h netinet/in.h netinet/tcp.h
    cpuid.h immintrin.h
    """.split()
)
SYSTEM_FOLDERS = ("sys/", "linux/", "sanitizer/")

ENDS_THE_PROCESS = re.compile(r"\b(assert|abort|exit|_exit|_Exit|quick_exit)\s*\(")
MAY_END_THE_PROCESS = ("server/main.c", "tests/")
TYPEDEF_OF_STRUCT = re.compile(r"\btypedef\s+(struct|union)\b(?!.*\(\*)")
DECLARATION = re.compile(r"^(?!typedef\b|static\b)\w[\w \t*]*[ \t*](\w+)\([^;{]*;", re.MULTILINE)
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root|home|tmp/wt)/\w")
NAMED_BY_OTHERS = {"main", "LLVMFuzzerTestOneInput", "LLVMFuzzerInitialize"}
# Compiled once for each file that includes them, so without a guard.
TEMPLATES = {"engine/kernels_lanes.h"}
CODE = (".c", ".h", ".py", ".sh")
WRITTEN_BY_HAND = CODE + (".md", ".html", "Makefile", ".ci/run", "api/openapi.json")


class Tree:
    """Text files by their path from the root."""

    def __init__(self, files):
        self.files = files

    def sources(self, *suffixes):
        return [(path, text) for path, text in self.files.items() if path.endswith(suffixes)]


def read_tree():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    files = {}
    for name in sorted(set(names.decode().split("\0"))):
        path = ROOT / name
        if not name or path.is_symlink() or not path.is_file():
            continue
        try:
            files[name] = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            pass
    return Tree(files)


def is_within(path, places):
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def without_comments(text):
    """The same lines with comments and the insides of literals blanked out."""

    def blank(match):
        found = match[0]
        if found[0] in "\"'":
            return found[0] + " " * (len(found) - 2) + found[0]
        return re.sub(r"[^\n]", " ", found)

    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.DOTALL)


def filtered(command, text):
    """What a command prints when it is given text."""
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True).stdout


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


class Function:
    """A function definition: name, static or not, and the lines of its body, braces included."""

    def __init__(self, name, is_static, line, body_lines):
        self.name = name
        self.is_static = is_static
        self.line = line
        self.body_lines = body_lines


def functions_of(text):
    """Function definitions of a file in our brace style: the body's braces stand in column 0."""
    lines = without_comments(text).split("\n")
    found = []
    for start, line in enumerate(lines):
        if line != "{":
            continue
        head = start
        while head > 0 and not re.search(r"^\s*$|^}|^#|;\s*$", lines[head - 1]):
            head -= 1
        signature = " ".join(lines[head:start])
        name = re.match(r"[^(]*?(\w+)\s*\(", signature)
        if not name:
            continue
        end = start
        while end < len(lines) - 1 and not lines[end].startswith("}"):
            end += 1
        is_static = bool(re.search(r"\bstatic\b", signature))
        found.append(Function(name[1], is_static, head + 1, end - start + 1))
    return found


def includes_of(text):
    """(line number, quote, header) of every include."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            found.append((number, match[1], match[2]))
    return found


# ---- Rules: each takes the tree and yields (path, line, message) ----


def rule_format(tree):
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    if not tool:
        yield ".clang-format", 1, "clang-format-14 is not installed"
        return
    version = filtered([tool, "--version"], "")
    if not re.search(r"version 14\.", version):
        yield ".clang-format", 1, f"needs clang-format 14, found {version.strip()}"
        return
    for path, text in tree.sources(".c", ".h"):
        command = [tool, "--style=file", f"--assume-filename={path}"]
        wanted = filtered(command, text)
        if wanted != text:
            pairs = zip(text.split("\n"), wanted.split("\n"))
            line = next((n for n, (a, b) in enumerate(pairs, 1) if a != b), 1)
            yield path, line, "not as clang-format has it (make format)"


def rule_include(tree):
    for path, text in tree.sources(".c", ".h"):
        rows = [row for row in MAY_INCLUDE if is_within(path, [row])]
        if not rows:
            yield path, 1, "C code belongs in " + ", ".join(MAY_INCLUDE)
            continue
        allowed = MAY_INCLUDE[max(rows, key=len)]
        for line, quote, header in includes_of(text):
            if quote != '"':
                continue
            if header not in tree.files:
                yield path, line, f'"{header}": write it from the root of the tree'
            elif not is_within(header, allowed):
                yield path, line, f'"{header}": may include only ' + ", ".join(allowed)


def rule_third_party(tree):
    users = {}
    for path, text in tree.sources(".c", ".h"):
        if path.startswith("tests/"):
            continue
        for line, quote, header in includes_of(text):
            if quote != "<" or header in SYSTEM_HEADERS or header.startswith(SYSTEM_FOLDERS):
                continue
            if header not in THIRD_PARTY:
                yield path, line, f"<{header}>: unknown; third-party headers are listed in lint.py"
                continue
            folders, how = THIRD_PARTY[header]
            if path.endswith(".h"):
                yield path, line, f"<{header}>: never in a header"
            elif not is_within(path, folders):
                yield path, line, f"<{header}>: only in " + ", ".join(folders)
            elif how == "one file":
                first = users.setdefault(header, path)
                if first != path:
                    yield path, line, f"<{header}>: already used by {first}; one file is to know it"


def rule_file_length(tree):
    for path, text in tree.sources(".c"):
        lines = text.count("\n")
        if lines > MAX_FILE_LINES:
            yield path, 1, f"{lines} lines; at most {MAX_FILE_LINES}"


def rule_function_length(tree):
    for path, text in tree.sources(".c", ".h"):
        for function in functions_of(text):
            if function.body_lines > MAX_FUNCTION_LINES:
                lines = f"{function.body_lines} lines; at most {MAX_FUNCTION_LINES}"
                yield path, function.line, f"{function.name}: {lines}"


def rule_stem(tree):
    seen = {}
    for path, _ in tree.sources(".c", ".h"):
        place, stem = path.rsplit(".", 1)[0], Path(path).stem
        if seen.setdefault(stem, place) != place:
            yield path, 1, f"the stem '{stem}' is taken by {seen[stem]}"


def has_stem(name, stem):
    return name == stem or name.startswith(stem + "_")


def rule_name(tree):
    """A name that other files see starts with its file's stem, or with that of a header of the
    same folder which the file includes."""
    for path, text in tree.sources(".c"):
        if path.startswith("tests/"):
            continue
        folder = str(Path(path).parent)
        stems = [Path(path).stem]
        stems += [Path(h).stem for _, _, h in includes_of(text) if str(Path(h).parent) == folder]
        for function in functions_of(text):
            if function.is_static or function.name in NAMED_BY_OTHERS:
                continue
            if not any(has_stem(function.name, stem) for stem in stems):
                yield path, function.line, f"{function.name}: should start with {stems[0]}_"


def rule_header_name(tree):
    """image_codec.h may declare image_codec_open, and image_open if there is an image.h."""
    for path, text in tree.sources(".h"):
        if path.startswith("tests/"):
            continue
        stem = Path(path).stem
        stems = [Path(other).stem for other, _ in tree.sources(".h")]
        stems = [stem] + [other for other in stems if has_stem(stem, other)]
        for match in DECLARATION.finditer(without_comments(text)):
            if not any(has_stem(match[1], known) for known in stems):
                line = line_of(text, match.start(1))
                yield path, line, f"{match[1]}: should start with {stem}_"


def rule_guard(tree):
    for path, text in tree.sources(".h"):
        guard = re.sub(r"\W", "_", path).upper()
        if path not in TEMPLATES and f"#ifndef {guard}\n#define {guard}\n" not in text:
            yield path, 1, f"the include guard should be {guard}"


def rule_typedef(tree):
    for path, text in tree.sources(".c", ".h"):
        for match in TYPEDEF_OF_STRUCT.finditer(without_comments(text)):
            yield path, line_of(text, match.start()), "no typedef for a struct"


def rule_end_of_process(tree):
    for path, text in tree.sources(".c", ".h"):
        if is_within(path, MAY_END_THE_PROCESS):
            continue
        for match in ENDS_THE_PROCESS.finditer(without_comments(text)):
            yield path, line_of(text, match.start()), f"{match[1]}(): only main may end the process"


def rule_unfinished(tree):
    for path, text in tree.sources(*WRITTEN_BY_HAND):
        for match in UNFINISHED.finditer(text):
            yield path, line_of(text, match.start()), f"{match[0]}: finish it or file an issue"


def rule_machine_path(tree):
    for path, text in tree.files.items():
        for match in MACHINE_PATH.finditer(text):
            yield path, line_of(text, match.start()), "names a folder of somebody's machine"


def rule_width(tree):
    for path, text in tree.sources(*CODE):
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > MAX_COLUMNS:
                yield path, number, f"{len(line)} columns; at most {MAX_COLUMNS}"


def rule_white_space(tree):
    for path, text in tree.sources(*WRITTEN_BY_HAND):
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                yield path, number, "white space at the end of the line"
        if not text.endswith("\n") or text.endswith("\n\n"):
            yield path, text.count("\n") + 1, "a file ends with one newline"


def rule_conflict(tree):
    for path, text in tree.files.items():
        for match in CONFLICT.finditer(text):
            yield path, line_of(text, match.start()), "a merge conflict that was never resolved"


def rule_python(tree):
    for path, text in tree.sources(".py"):
        try:
            compile(text, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            yield path, getattr(error, "lineno", None) or 1, f"does not compile: {error}"


def rule_shell(tree):
    tool = shutil.which("shellcheck")
    if not tool:
        yield "deploy/setup.sh", 1, "shellcheck is not installed"
        return
    for path, text in tree.files.items():
        if re.match(r"#!/bin/(ba)?sh\b|#!/usr/bin/env bash\b", text):
            output = filtered([tool, "--format=gcc", "-"], text)
            for line, message in re.findall(r"^-:(\d+):\d+: (.*)$", output, re.M):
                yield path, int(line), message


RULES = {name[len("rule_"):]: rule for name, rule in globals().items() if name.startswith("rule_")}


def findings_in(tree):
    for name, rule in RULES.items():
        for path, line, message in rule(tree):
            yield path, line, name, message


def main():
    tree = read_tree()
    count = 0
    for path, line, rule, message in sorted(findings_in(tree)):
        print(f"{path}:{line}: {rule}: {message}")
        count += 1
    print(f"lint: {len(tree.files)} files, {len(RULES)} rules, {count} findings")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
