"""The pages stay true: what the code has stands in them, and what stands in them the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.contract import subjects
from broker.contract.roles import Role
from broker.jetstream import topology
from broker.jetstream.permissions import rights
from ws_edge.api.methods import METHODS
from ws_edge.transport import websocket as socket

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("broker", "agent_worker", "ws_edge", "testcast")
README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "broker" / "PROTOCOL.md").read_text()


def sources(*packages: str) -> str:
    return "\n".join(path.read_text() for package in packages for path in sorted((ROOT / package).rglob("*.py")))


def test_every_setting_stands_in_the_readme_and_the_other_way_round() -> None:
    # An edge's settings are read as of("PORT", …): their prefix is written once.
    code = sources(*PACKAGES)
    in_code = set(re.findall(r"TESTCAST_[A-Z][A-Z_]*[A-Z]", code))
    in_code -= {"TESTCAST_EDGE"}
    in_code |= {f"TESTCAST_EDGE_{name}" for name in re.findall(r'\b(?:of|count_of)\("([A-Z_]+)"', code)}
    in_readme = set(re.findall(r"TESTCAST_[A-Z][A-Z_]*[A-Z]", README))
    assert in_code - in_readme == set(), "in the code, not in the README"
    assert in_readme - in_code == set(), "in the README, not in the code"


def test_every_name_on_the_broker_stands_in_the_protocol() -> None:
    for config in topology.streams(1):
        assert f"`{config['name']}`" in PROTOCOL
    for _, consumer in topology.consumers():
        assert f"`{consumer['durable_name']}`" in PROTOCOL
    kinds = (subjects.events, subjects.live, subjects.frames, subjects.stored_frame, subjects.control, subjects.alive)
    for make in kinds:
        assert f"`{make('<id>')}`" in PROTOCOL
    assert f"`{subjects.ALL_JOBS}`" in PROTOCOL
    known = {make("<id>") for make in kinds}
    assert set(re.findall(r"`(test\.<id>\.\w+)`", PROTOCOL)) == known


@pytest.mark.parametrize("role", Role, ids=lambda role: str(role.value))
def test_every_permission_stands_in_the_protocol(role: Role) -> None:
    found = rights(role)
    cells = [", ".join(f"`{each}`" for each in side) for side in (found.publish, found.never_publish, found.subscribe)]
    assert f"| `{role.value}` in `{found.account}` | {' | '.join(cells)} |" in PROTOCOL


def test_every_method_stands_in_the_protocol_with_its_parameters() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\| .*\|$", PROTOCOL.split("## The RPC")[1], re.MULTILINE))
    assert set(rows) == set(METHODS)
    for name, method in METHODS.items():
        fields = [re.sub(r"_(\w)", lambda found: found[1].upper(), field) for field in method.params.__struct_fields__]
        for field in fields:
            assert field in rows[name], f"{name}: {field}"


def test_every_close_code_stands_in_the_protocol() -> None:
    ours = {value for name, value in vars(socket).items() if name.isupper() and isinstance(value, int) and value < 5000}
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", PROTOCOL, re.MULTILINE) for code in row.split(", ")}
    assert {code for code in ours if code >= 1003} <= listed


@pytest.mark.parametrize("package", ["broker", "ws_edge"])
def test_every_error_code_of_the_edge_stands_in_the_protocol(package: str) -> None:
    internal = {"malformed_event", "invalid_setting", "fenced", "server_not_started"}  # never sent to a viewer
    codes = set(re.findall(r'\bcode(?: = |=)"([a-z_]+)"', sources(package)))
    codes |= set(re.findall(r'\bsend_error\("([a-z_]+)"', sources(package)))
    codes |= set(re.findall(r'Refusal\(\s*HTTPStatus\.\w+,\s*"([a-z_]+)"', sources(package)))
    own = {"cancelled", "lost"}  # of events
    assert {code for code in codes - internal - own if f"`{code}`" not in PROTOCOL} == set()


def test_links_in_the_pages_lead_somewhere() -> None:
    for page in ROOT.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readmes_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (demo|test|screenshot|setup|lock|clean|bench)\b", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
