"""`serve --config`, `--print-config` and `--check-config`."""

from command_line import ROOT, assert_usage, environment, run
from serving import Server

EXAMPLE = ROOT / "config/attriprompt.conf"


def test_the_example_is_what_is_printed():
    done = run("serve", "--print-config")
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.decode() == EXAMPLE.read_text(encoding="utf-8")
    assert run("serve", "--config", EXAMPLE, "--check-config").returncode == 0


def test_printing_tells_where_values_come_from(tmp_path):
    file = tmp_path / "mine.conf"
    file.write_text("max-batch-rows = 3\nport = 1\nthreads = 1\n")
    env = environment(ATTRIPROMPT_PORT="2")
    done = run("serve", "--config", file, "--threads", "2", "--print-config", env=env)
    text = done.stdout.decode()
    assert "(from the file)\nmax-batch-rows = 3\n" in text
    assert "(from the environment)\nport = 2\n" in text
    assert "(from a flag)\nthreads = 2\n" in text
    assert "(default)\nhost = 127.0.0.1\n" in text


def test_checking(tmp_path):
    done = run("serve", "--check-config")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    file = tmp_path / "mine.conf"
    file.write_text("port = 80800\n")
    assert_usage(run("serve", "--config", file, "--check-config"), "serve", f"{file}, line 1: port")
    assert_usage(run("serve", "--config", tmp_path / "no"), "serve", str(tmp_path / "no"))
    assert_usage(run("serve", "--config", tmp_path), "serve", str(tmp_path))


def test_serving_by_a_file(tmp_path):
    file = tmp_path / "mine.conf"
    file.write_text("# a limit\nmax-labels = 2\n")
    server = Server("--config", file)
    reply = server.post_form(("image", b"x"), ("labels", "a,b,c"))
    assert reply.status == 422 and "more than 2" in reply.json()["detail"]
    server.stop()


def test_help_names_them():
    text = run("serve", "--help").stdout.decode()
    for flag in ("--config FILE", "--print-config", "--check-config"):
        assert flag in text
