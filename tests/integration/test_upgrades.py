"""An installation of the previous version is rolled to this one and back, while it is watched.

The longer form of it, also on a cluster, is `make upgrades`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.jetstream import stream_config
from broker.version import VERSION
from tests.upgrades import rolling, versions
from tests.upgrades.versions import COMMIT, ROOT, TAG, NoHistory, Version, git, imports, previous, today
from tests.upgrades.world import Size

SIZE = Size(runs=1, events_per_s=10, sockets=4, edges_back=1)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The previous version, out of the history of this repository."""
    try:
        return previous(tmp_path_factory.mktemp("previous"))
    except NoHistory as error:
        pytest.skip(f"no previous version to upgrade from: {error}")


def test_it_is_the_version_that_was_released_last() -> None:
    released = re.findall(r"^## (\d+\.\d+\.\d+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f"v{next(each for each in released if each != VERSION)}" == TAG


def test_a_clone_without_tags_finds_it_by_its_commit(
    old: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = git("rev-parse", "--verify", "--quiet", f"refs/tags/{TAG}^{{commit}}").stdout.decode().strip()
    assert named in ("", COMMIT)
    monkeypatch.setattr(versions, "TAG", "v0.0.0-none")
    assert versions.previous(tmp_path).name == old.name == TAG[1:]


def test_a_process_of_the_previous_version_cannot_import_todays_code(old: Version) -> None:
    found = imports(old)
    assert {"broker", "ws_edge.main", "agent_worker.publish.run", "testcast.cli.main"} <= found["files"].keys()
    assert [file for file in found["files"].values() if not file.startswith(f"{old.root}/")] == []
    assert "and not from" in (found["refused"] or "nothing was refused")


@pytest.mark.timeout(280)
async def test_edges_and_publishers_roll_to_this_version_and_back_under_load(tmp_path: Path, old: Version) -> None:
    steps: list[str] = []
    outcome = await rolling.run(tmp_path, SIZE, old, today(), steps.append)
    assert outcome.complaints == []
    assert outcome.verdict.violations == []
    assert outcome.verdict.acked > 0
    assert len(steps) == 5
    assert outcome.changed.keys() <= {each["name"] for each in stream_config.streams(1)}
