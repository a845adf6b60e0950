"""docker-compose.yml: valid, closed, and running the commands that the demo runs and the tests test."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import health
from portal.demo import supervise
from portal.demo.paths import Paths

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"migrate", "demo-seed"}
# Words after these name a place: an address, a folder, a file. They differ between a laptop and a container.
PLACES = {
    "--host",
    "--port",
    "--backend-store-uri",
    "--artifacts-destination",
    "--config",
    "--portal",
    "--state",
    "--schedule",
    "--ca",
}


def words(command: list[str]) -> list[str]:
    """Program, options in order of name, values; places and the interpreter's own path left out."""
    program, rest = Path(command[0]).name, list(command[1:])
    kept: list[tuple[str, ...]] = []
    while rest:
        word = rest.pop(0)
        if word in PLACES:
            rest.pop(0)
        elif word.startswith("-") and rest and not rest[0].startswith("-"):
            kept.append((word, rest.pop(0)))
        else:
            kept.append((word,))
    name = "python" if re.fullmatch(r"python[\d.]*", program) else program
    return [name, *(word for option in sorted(kept) for word in option)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The command of each program of the demo, without the wrapper that ends it with its supervisor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REDIS_URL", raising=False)
        text = supervise.configuration(
            Paths(tmp_path_factory.mktemp("home")),
            port=8000,
            plc_ports={"turbine": 15_020},
            gateways=["gt1-gw-a", "gt1-gw-b"],
            mlflow_server=True,
            start_row=start_row(),
        )
    parsed = configparser.RawConfigParser()
    parsed.read_string(text)
    wrapper = [sys.executable, "-m", "portal.demo.child"]
    commands = {}
    for section in parsed.sections():
        if section.startswith("program:"):
            command = shlex.split(parsed[section]["command"])
            assert command[:3] == wrapper
            commands[section.removeprefix("program:")] = command[3:]
    return commands


def start_row() -> int:
    from edge_bridge.demo.replay import load
    from portal.demo.seed.story import LIVE_ROWS_BEFORE_BOUNDARY

    return load("turbine").first_of("2014") - LIVE_ROWS_BEFORE_BOUNDARY


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What deploy/secrets.sh makes."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("deploy")
    shutil.copy(ROOT / "deploy" / "secrets.sh", folder)
    for _ in range(2):
        done = subprocess.run(
            ["sh", str(folder / "secrets.sh"), "portal.example.com"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder / "secrets"


# ---- the same commands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["web", "mlflow", "plc"])
def test_a_service_runs_the_command_of_the_demo(demo: dict[str, list[str]], service: str) -> None:
    assert words(SERVICES[service]["command"]) == words(demo[service])


def test_worker_and_beat_are_the_demo_s_worker_taken_apart(demo: dict[str, list[str]]) -> None:
    together = demo["worker"]
    assert "-B" in together
    assert "--schedule" in together
    alone = [word for word in together if word != "-B"]
    assert words(SERVICES["worker"]["command"]) == words(alone)
    assert "-B" not in SERVICES["worker"]["command"]
    beat = SERVICES["beat"]["command"]
    assert beat[:4] == ["celery", "-A", "portal", "beat"]
    assert "--schedule" in beat


@pytest.mark.parametrize(("service", "gateway"), [("gateway-a", "gt1-gw-a"), ("gateway-b", "gt1-gw-b")])
def test_a_gateway_runs_the_demo_s_agent_and_permits_http_inside(
    demo: dict[str, list[str]], service: str, gateway: str
) -> None:
    command = SERVICES[service]["command"]
    assert words([word for word in command if word != "--allow-http"]) == words(demo[f"gateway-{gateway}"])
    assert f"/var/lib/phasegate/gateways/{gateway}/agent.toml" in command


def test_management_commands_exist() -> None:
    from django.core.management import get_commands

    for service in ("migrate", "bridge"):
        python, manage, name, *_ = SERVICES[service]["command"]
        assert (python, manage) == ("python", "manage.py")
        assert name in get_commands()


def test_the_image_starts_what_the_web_service_starts() -> None:
    last = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("CMD")][-1]
    assert yaml.safe_load(last.removeprefix("CMD")) == SERVICES["web"]["command"]


# ---- closed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_small_and_closed(name: str) -> None:
    service = SERVICES[name]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert name in ONCE or service["healthcheck"]["test"]
    assert bool(service.get("ports")) == (name == "web")
    assert all(":latest" not in service["image"] and ":" in service["image"] for _ in (0,))


def test_secrets_come_from_files_and_stand_in_no_variable() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            assert not re.search(r"(PASSWORD|SECRET|TOKEN|_KEY)$", key), f"{name}: {key}"
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name}: {key}"
            if str(value).startswith("/run/secrets/"):
                given = {s if isinstance(s, str) else s["source"] for s in service["secrets"]}
                assert str(value).removeprefix("/run/secrets/") in given, f"{name}: {key}"
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


def test_names_are_declared_and_profiles_are_the_demo_s() -> None:
    demo = {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]}
    assert demo == {"demo-seed", "plc", "gateway-a", "gateway-b"}
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"], f"{name}: {source}"
            assert not source.startswith("./") or (ROOT / source).exists(), f"{name}: {source}"
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            if name not in demo and other in demo:
                assert how["required"] is False
    assert SERVICES["postgres"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


# ---- the pieces fit --------------------------------------------------------------------------------------------------


def test_every_secret_is_made_and_survives_a_second_run(secrets: Path) -> None:
    for secret in COMPOSE["secrets"].values():
        path = secrets / Path(secret["file"]).name
        assert path.stat().st_size > 0
        assert path.stat().st_mode & 0o777 == 0o644
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert (secrets / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (secrets / "valkey_password").read_text().strip() in (secrets / "redis_url").read_text()
    verify = ["openssl", "verify", "-CAfile", str(secrets / "ca.crt"), "-verify_hostname", "portal.example.com"]
    assert subprocess.run([*verify, str(secrets / "server.crt")], capture_output=True, check=False).returncode == 0


def test_the_portal_can_use_the_secrets(secrets: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    from edge_bridge.connectors.mqtt import Broker
    from edge_bridge.desired import mqtt_access
    from governance import artefacts
    from portal.env import database_from_url, env_str

    environment = SERVICES["web"]["environment"]
    for name in ("DATABASE_PASSWORD", "REDIS_URL", "MQTT_URL"):
        secret = environment[f"{name}_FILE"].removeprefix("/run/secrets/")
        monkeypatch.setenv(f"{name}_FILE", str(secrets / Path(COMPOSE["secrets"][secret]["file"]).name))
    database = database_from_url(environment["DATABASE_URL"])
    assert database["PASSWORD"] == (secrets / "database_password").read_text().strip()
    assert env_str("REDIS_URL").endswith("@valkey:6379/0")
    settings.MQTT_URL = env_str("MQTT_URL")
    broker = Broker.of(settings.MQTT_URL)
    assert (broker.host, broker.port, broker.tls, broker.user) == ("mosquitto", 8883, True, "bridge")
    assert broker.ca == "/run/secrets/mqtt_ca"
    access = mqtt_access()
    assert access is not None
    assert (access.host, access.port, access.tls) == ("portal.example.com", 8883, True)
    settings.SIGNING_KEY_FILE = secrets / "signing_key.pem"
    assert len(artefacts.signing_key()) == 32


def test_the_broker_reads_the_password_file_the_bridge_writes() -> None:
    bridge, broker = SERVICES["bridge"], SERVICES["mosquitto"]
    written = bridge["command"][bridge["command"].index("--password-file") + 1]
    assert f"password_file {written}" in (ROOT / "deploy/mosquitto.conf").read_text()
    assert "mosquitto:/mosquitto/data" in bridge["volumes"]
    assert "mosquitto:/mosquitto/data" in broker["volumes"]
    assert bridge["user"] == broker["user"]
    accounts = re.findall(r"^user (\S+)$", (ROOT / "deploy/mosquitto.acl").read_text(), re.MULTILINE)
    assert accounts == ["bridge"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_health_checks_call_what_exists(name: str) -> None:
    test = SERVICES[name].get("healthcheck", {}).get("test", ["CMD"])
    if test[1:3] == ["python", "/app/deploy/health.py"]:
        assert test[3] in health.CHECKS


def test_health_checks_tell_well_from_unwell(tmp_path: Path) -> None:
    assert not health.fresh("60", str(tmp_path))
    (tmp_path / "schedule").write_text("")
    assert health.fresh("60", str(tmp_path))
    os.utime(tmp_path / "schedule", (0, 0))
    assert not health.fresh("60", str(tmp_path))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
        assert not health.listens(port)
        server.listen()
        assert health.listens(port)
    assert not health.http(f"http://127.0.0.1:{port}/")
    table = tmp_path / "tcp"
    table.write_text("sl local rem st\n 0: 0500000A:9C40 0600000A:22B3 01 00\n 1: 0500000A:9C41 0600000A:1F90 06 00\n")
    assert health.connected("8883", (str(table),))
    assert not health.connected("8080", (str(table),))
    (tmp_path / "state").mkdir()
    assert not health.agent(str(tmp_path / "state"))
    assert health.main(["unknown"]) == 2


def test_what_the_image_copies_exists_and_is_in_its_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _target = line.split()[1:]
            for source in (s for s in sources if s != "."):
                assert (ROOT / source).exists(), source
                assert source in let_in or source.split("/")[0] in let_in, source


def test_the_client_accepts_it(secrets: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose here; the file was read as YAML")
    for files in (["docker-compose.yml"], ["docker-compose.yml", "deploy/compose.mqtt.yml"]):
        chosen = [word for file in files for word in ("-f", file)]
        done = subprocess.run(
            [docker, "compose", *chosen, "--profile", "demo", "config", "--quiet"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
