"""What is installed with testcast: each package has a licence that is allowed and stands on the page; advisories."""

from __future__ import annotations

import re
from typing import Any

import pytest
from packaging.requirements import Requirement

import audit
import licences

LINE = re.compile(r"^([a-z0-9-]+)==\S+(?: ; (.*?))? \\$", re.MULTILINE)


def wanted_here() -> set[str]:
    """The packages of the locks whose marker holds on this machine."""
    found = {each for lock in licences.LOCKS for each in LINE.findall(lock.read_text())}
    needed = [(name, Requirement(f"{name}; {marker}" if marker else name).marker) for name, marker in found]
    return {name for name, marker in needed if marker is None or marker.evaluate()}


def test_every_runtime_dependency_is_installed_and_has_an_allowed_licence() -> None:
    found = licences.table()
    assert wanted_here() - found.keys() == set(), "not installed"
    wrong = {name: expression for name, expression in found.items() if licences.not_allowed(expression)}
    assert wrong == {}, "licences that nobody has judged: see `ALLOWED`"


def test_the_page_lists_every_runtime_dependency_with_its_licence() -> None:
    rows = dict(re.findall(r"^\| ([a-z0-9][a-z0-9-]*) \| (.+) \|$", licences.PAGE.read_text(), re.MULTILINE))
    rows.pop("package")
    assert rows.keys() == set(licences.locked()), "make it again: .venv/bin/python scripts/licences.py"
    found = licences.table()
    assert {name: rows[name] for name in found} == found


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("MIT", []),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", []),
        ("GPL-3.0-only", ["GPL-3.0-only"]),
        ("MIT AND AGPL-3.0-or-later", ["AGPL-3.0-or-later"]),
        ("GPL-3.0-only OR MIT", []),
        ("Proprietary", ["Proprietary"]),
    ],
)
def test_a_licence_that_is_not_allowed_is_named(expression: str, wrong: list[str]) -> None:
    assert licences.not_allowed(expression) == wrong


def report(*packages: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"dependencies": [{"name": "a", "version": "1"} | each for each in packages]}]


def test_an_advisory_fails_the_audit(capsys: pytest.CaptureFixture[str]) -> None:
    advisory = {"id": "PYSEC-1", "fix_versions": ["2"]}
    assert audit.judge(report({"vulns": [advisory]})) == 1
    assert "a 1: PYSEC-1, mended in 2" in capsys.readouterr().out


def test_no_advisory_passes_and_says_how_many_were_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.judge(report({"vulns": []}, {"name": "b", "skip_reason": "not found"})) == 0
    assert "1 of 2 packages looked up, 0 advisories" in capsys.readouterr().out


def test_what_cannot_be_looked_up_is_said_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.judge(report({"skip_reason": "not found"})) == 0
    assert "nothing is known" in capsys.readouterr().out
    assert "example" not in audit.last_line("ConnectionError: https://registry.example/simple: refused")
