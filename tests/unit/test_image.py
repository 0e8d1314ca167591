"""The Dockerfile and the bill of materials, as far as they can be judged without an engine."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import licences
import sbom

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LINES = re.sub(r"^ *#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", "").splitlines()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()


def stages() -> dict[str, list[str]]:
    """Stage -> its instructions, the first of them its FROM."""
    found: dict[str, list[str]] = {}
    for line in LINES:
        if name := re.match(r"FROM \S+ AS (\S+)", line):
            found[name[1]] = []
        for stage in list(found)[-1:]:
            found[stage].append(line)
    return found


STAGES = stages()


def lineage(stage: str) -> list[str]:
    """The instructions that make an image: those of its stage and of the stages that it is made from."""
    above = STAGES[stage][0].split()[1]
    return [*(lineage(above) if above in STAGES else []), *STAGES[stage]]


def test_every_stage_stands_on_the_base_that_can_be_chosen() -> None:
    assert [line for line in LINES if line.startswith("ARG BASE")] == ["ARG BASE=python:3.13-slim-bookworm"]
    assert {line[0].split()[1] for line in STAGES.values()} <= {"${BASE}", *STAGES}


def test_nothing_needs_buildkit() -> None:
    assert not re.search(r"--mount|--chmod|--link|<<|syntax=", "\n".join(LINES))


@pytest.mark.parametrize("image", ["edge", "agent"])
def test_an_image_has_no_root_no_build_tool_and_says_what_it_is(image: str) -> None:
    made = lineage(image)
    assert [line for line in made if line.startswith("USER")] == ["USER testcast"]
    assert any("--uid 10001" in line for line in made) and "STOPSIGNAL SIGTERM" in made
    assert any('rm -rf "$library/ensurepip"' in line for line in made)
    assert not any("pip install" in line or line.startswith("FROM build") for line in made)
    label = next(line for line in made if line.startswith("LABEL"))
    for name in ("title", "description", "version", "revision", "source", "licenses"):
        assert f"org.opencontainers.image.{name}=" in label
    assert sum(line.startswith("HEALTHCHECK") for line in made) == 1
    assert "COPY --from=" + image + "-sbom /sbom.cdx.json /usr/share/testcast/" in made


def test_the_edge_is_made_without_the_browser() -> None:
    sources = [f"{image}-build" for image in ("edge", "agent") if f"FROM build AS {image}-build" in LINES]
    assert sources == ["edge-build", "agent-build"]
    edge = "\n".join([*lineage("edge-build"), *lineage("edge")])
    assert "requirements.lock" in edge and "requirements-observe.lock" in edge
    assert not re.search(r"requirements-agent|chromium|playwright", edge)
    assert "requirements-agent.lock" in "\n".join(lineage("agent-build"))
    assert "chromium" in "\n".join(lineage("agent"))


def test_the_version_of_an_image_is_the_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {line for line in LINES if line.startswith("ARG VERSION")} == {f"ARG VERSION={version}"}


def test_a_health_check_is_one_that_python_reads() -> None:
    checks = [json.loads(line.split(" CMD ")[1]) for line in LINES if line.startswith("HEALTHCHECK")]
    for program, flags, code in checks:
        assert (program, flags) == ("python", "-ISc")
        compile(code, "HEALTHCHECK", "exec")
        assert b"\r\n\r\n" in eval(re.findall(r"b'GET[^']*'", code)[0])


def test_all_that_is_copied_is_let_in() -> None:
    let_in = {line[1:] for line in IGNORED if line.startswith("!")}
    assert IGNORED[1] == "*"
    copied = [line.split()[1:-1] for line in LINES if line.startswith("COPY") and "--from" not in line]
    names = {name for each in copied for name in each if name != "."}
    assert names <= let_in
    assert [name for name in let_in if not (ROOT / name).exists()] == []


def test_the_bill_of_materials_is_valid_and_lists_what_the_locks_name() -> None:
    lock = ROOT / "requirements.lock"
    document = sbom.bill("testcast", licences.locked(lock))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    listed = {each["name"]: each for each in document["components"]}
    versions = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))
    assert {name: each["version"] for name, each in listed.items() if name != "testcast"} == versions
    assert all(each["licenses"] for each in listed.values())
    needed = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert any("pkg:pypi/nats-py@" in each for each in needed[listed["testcast"]["bom-ref"]])
    assert not any("playwright" in each for each in needed[listed["testcast"]["bom-ref"]])


def test_the_bill_of_an_image_is_valid_and_has_python_and_debian_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sbom, "debian", lambda: [{"type": "library", "bom-ref": "pkg:deb/debian/bash@5", "name": "bash"}]
    )
    document = sbom.bill("testcast-edge")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    assert {"python", "bash", "playwright"} <= {each["name"] for each in document["components"]}
    assert document == sbom.bill("testcast-edge"), "the same bytes for the same environment"


@pytest.mark.skipif(sys.platform != "linux", reason="dpkg")
def test_packages_of_debian_are_told_with_their_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dpkg-query"
    program.write_text("#!/bin/sh\nprintf 'libc6\\t2.36-9+deb12u10\\tamd64\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = sbom.debian()
    assert found["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64"
    program.unlink()
    assert sbom.debian() == []
