"""The previous version of testcast, taken out of this repository's history, and today's: how to run processes of each.

Both run with the packages of this environment. A process of the previous version cannot import anything of today's:
a finder that stands before all others refuses what is not below the previous version's own folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from broker.jetstream import stream_config
from broker.version import VERSION

ROOT: Final = Path(__file__).resolve().parents[2]
TAG: Final = "v0.2.0"
"""Of the version that was released before this one: a test compares it with CHANGELOG.md."""
COMMIT: Final = "b896e645c7ea6eef1f6a88a6ee9973055f702090"
"""What `TAG` names, for clones that have no tags."""

_OURS: Final = ("agent_worker", "broker", "dashboard_ui", "testcast", "tests", "ws_edge")
_GUARD: Final = """\
import sys
from importlib.machinery import PathFinder


class OnlyThisVersion:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in {ours!r}:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and not all(
            place.startswith({root!r}) for place in [spec.origin, *(spec.submodule_search_locations or ())] if place
        ):
            raise ImportError(f"{{name}} would come from {{spec.origin}}, and not from {root}")
        return spec


sys.meta_path.insert(0, OnlyThisVersion)
"""
_LOOK: Final = """\
import json, sys
from importlib import import_module

for name in {modules!r}:
    import_module(name)
found = {{name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in {ours!r}}}
sys.path[:] = [{today!r}, *(each for each in sys.path if not each.startswith({root!r}))]
for name in [name for name in sys.modules if name.partition(".")[0] in {ours!r}]:
    del sys.modules[name]
try:
    import broker
    refused = None
except ImportError as error:
    refused = str(error)
print(json.dumps({{"files": found, "refused": refused}}))
"""
_PARTS: Final = ("ws_edge.main", "agent_worker.publish.run", "agent_worker.work.worker", "testcast.cli.main")


class NoHistory(Exception):
    """The previous version is not in this clone."""


class Version(NamedTuple):
    """A version of testcast that this machine can run."""

    name: str
    """As `/healthz` of its edges says it."""
    root: Path
    env: Mapping[str, str]
    """Variables with which Python runs this version, whatever the current directory."""


def today() -> Version:
    """Returns the version of this work tree."""
    return Version(VERSION, ROOT, {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"})


def previous(directory: Path) -> Version:
    """Writes the previous version into a directory and returns it.

    Raises:
        NoHistory: this is no clone, or a shallow one; the message says which.
    """
    root, guard = directory / "code", directory / "guard"
    with tarfile.open(fileobj=BytesIO(_archive())) as archive:
        archive.extractall(root, filter="data")
    name = next(
        line.split('"')[1] for line in (root / "pyproject.toml").read_text().splitlines() if line.startswith("version")
    )
    described = root / f"testcast-{name}.dist-info" / "METADATA"  # what it says of itself, as if it was installed
    described.parent.mkdir()
    described.write_text(f"Metadata-Version: 2.1\nName: testcast\nVersion: {name}\n")
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(_GUARD.format(ours=_OURS, root=f"{root}{os.sep}"))
    return Version(name, root, {"PYTHONPATH": f"{guard}{os.pathsep}{root}", "PYTHONSAFEPATH": "1"})


def _archive() -> bytes:
    for name in (f"refs/tags/{TAG}", COMMIT):
        made = git("archive", "--format=tar", name, *_OURS, "pyproject.toml")
        if made.returncode == 0:
            return made.stdout
    shallow = git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    why = "this clone is shallow" if shallow else made.stderr.decode(errors="replace").strip()
    raise NoHistory(f"{TAG} ({COMMIT[:7]}) cannot be had from the history: {why}")


def git(*argv: str) -> subprocess.CompletedProcess[bytes]:
    """Runs git in this repository.

    Raises:
        NoHistory: there is no git.
    """
    try:
        return subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, check=False)
    except OSError as error:
        raise NoHistory(f"{TAG} cannot be had from the history: {error}") from None


def imports(version: Version) -> dict[str, Any]:
    """Returns what a process of this version imports, and what it is told when today's folder stands first.

    Returns:
        `files`: the file of each module of testcast. `refused`: the error of `import broker` with today's folder as
        the first place to look in and none of its own; None where that worked.
    """
    code = _LOOK.format(modules=_PARTS, ours=_OURS, today=str(ROOT), root=str(version.root.parent))
    env = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")} | dict(version.env)
    made = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, check=True)
    found: dict[str, Any] = orjson.loads(made.stdout)
    return found


def topology_version(config: Mapping[str, Any]) -> int:
    """Returns which version of the topology has declared a stream; 0 where it does not say."""
    return int((config.get("metadata") or {}).get(stream_config.VERSION_KEY, 0))
