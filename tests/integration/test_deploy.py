"""The files below deploy/ that nothing else runs, and where they must agree with the program."""

import re
import shutil
import subprocess

import pytest

from command_line import LIMIT_S, ROOT, run
from serving import DOG, serving

DEPLOY = ROOT / "deploy"
ALERTS_TEST = ROOT / "tests/integration/alerts_test.yml"
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def defaults():
    lines = (ROOT / "config/attriprompt.conf").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" = ") for line in lines if line and not line.startswith("#"))


def drain_s():
    options = defaults()
    return (int(options["drain-delay-ms"]) + int(options["drain-timeout-ms"])) / 1000


@pytest.fixture(scope="module")
def compose():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", DEPLOY / "prometheus.yml"),
        ("check", "rules", DEPLOY / "alerts.yml"),
        ("test", "rules", ALERTS_TEST),
    ],
    ids=["config", "rules", "alerts"],
)
def test_prometheus(words):
    command = ["promtool", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested():
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "alerts.yml").read_text(encoding="utf-8"))
    tested = re.findall(r"alertname: (\w+)", ALERTS_TEST.read_text(encoding="utf-8"))
    assert alerts and set(alerts) == set(tested)


def test_alerts_are_about_metrics_that_there_are():
    alerts = (DEPLOY / "alerts.yml").read_text(encoding="utf-8")
    with serving() as server:
        assert server.post_raw(DOG, labels="dog,cat").status == 200
        shown = server.get("/metrics").body.decode()
    names = set(re.findall(r"attriprompt_\w+", alerts))
    assert len(names) == 4
    for name in names:
        assert f"\n{name}{{" in shown
    (reasons,) = re.findall(r'reason=~"(.*?)"', alerts)
    for reason in reasons.split("|"):
        assert f'\nattriprompt_rejected_total{{reason="{reason}"}} ' in shown
    (route,) = re.findall(r'route="(.*?)"', alerts)
    assert f'\nattriprompt_http_request_duration_seconds_bucket{{route="{route}"' in shown
    assert '\nattriprompt_pool_load_total{result="ok"} ' in shown


def test_nothing_in_the_compose_file_has_more_rights_than_it_needs(compose):
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_compose_file_mounts_what_there_is(compose):
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if "/" in source else source in compose["volumes"]
    assert "VOLUME /var/lib/attriprompt\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "state:/var/lib/attriprompt" in compose["services"]["attriprompt"]["volumes"]


def test_what_the_container_keeps_fits_its_memory(compose):
    service = compose["services"]["attriprompt"]
    options = defaults()
    for variable, value in service["environment"].items():
        name = variable.removeprefix("ATTRIPROMPT_").lower().replace("_", "-")
        assert name in options
        options[name] = value
    memory = re.compile("(max-buffered|label-.*|pool|composition-.*)-bytes")
    kept = [name for name in options if memory.fullmatch(name)]
    assert len(kept) == 5
    number, unit = re.fullmatch(r"(\d+)(\w?)", service["mem_limit"]).groups()
    assert sum(int(options[name]) for name in kept) <= 0.75 * int(number) * UNITS[unit]


def test_there_is_time_to_drain(compose):
    grace = re.fullmatch(r"(\d+)s", compose["services"]["attriprompt"]["stop_grace_period"])
    assert int(grace[1]) > drain_s()
    unit = (DEPLOY / "attriprompt.service.in").read_text(encoding="utf-8")
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]) > drain_s()


def test_the_image_tells_the_version_of_the_program():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    told = re.search(r'image\.version="(.*?)"', text)[1]
    assert run("--version").stdout.decode() == f"attriprompt {told}\n"
