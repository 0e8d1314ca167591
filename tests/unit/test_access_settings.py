"""The settings of authentication: what is refused at the start, with the name of the variable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.contract.errors import InvalidSetting
from tests.tokens import SECRET, a_key, jwks, public
from ws_edge.access.settings import AccessConfig, Secret
from ws_edge.config import access, access_warnings, load

PREFIX = "TESTCAST_ACCESS_"
SESSION = SECRET[::-1]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "keys.json").write_bytes(jwks())
    for name in ("secret", "session"):
        (tmp_path / name).write_bytes(SECRET if name == "secret" else SESSION)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def read(files: Path, **settings: str) -> AccessConfig:
    return access({f"{PREFIX}{name}": value.replace("{}", str(files)) for name, value in settings.items()})


def test_without_settings_everyone_may_do_everything() -> None:
    assert access({}) == AccessConfig() == load({}).access
    assert not AccessConfig().enabled


def test_all_of_them(files: Path) -> None:
    found = read(
        files,
        KEYS=" {}/keys.json ",
        SECRET_FILE="{}/secret",
        SESSION_KEY_FILE="{}/session",
        ALGORITHMS="ES256, HS256,ES256",
        ISSUER="https://login.example",
        AUDIENCE="tests",
        ANONYMOUS="open, demo_2",
    )
    assert found == AccessConfig(
        keys=f"{files}/keys.json",
        secret=Secret(SECRET),
        algorithms=("ES256", "HS256"),
        issuer="https://login.example",
        audience="tests",
        anonymous=frozenset(("open", "demo_2")),
        session_key=Secret(SESSION),
    )
    assert found.enabled


def test_each_source_brings_its_algorithms(files: Path) -> None:
    assert read(files, KEYS="{}/keys.json").algorithms == ("EdDSA", "ES256", "RS256")
    assert read(files, SECRET_FILE="{}/secret").algorithms == ("HS256",)
    both = read(files, KEYS="{}/keys.json", SECRET_FILE="{}/secret")
    assert both.algorithms == ("EdDSA", "ES256", "RS256", "HS256")
    assert read(files, KEYS="https://login.example/keys").keys == "https://login.example/keys"


KEYS = {"KEYS": "{}/keys.json"}
WRONG: list[tuple[str, dict[str, str]]] = [
    ("KEYS", {"KEYS": "{}/nothing.json"}),
    ("KEYS", {"KEYS": "{}"}),
    ("KEYS", {"KEYS": "{}/secret"}),
    ("KEYS", {"KEYS": "{}/fifo"}),
    ("KEYS", {"KEYS": "http://login.example/keys"}),
    ("KEYS", {"KEYS": "http://127.0.0.1/keys"}),
    ("KEYS", {"KEYS": "HTTP://login.example/keys"}),
    ("KEYS", {"KEYS": "file:///keys.json"}),
    ("KEYS", {"KEYS": "https://"}),
    ("KEYS", {"KEYS": "https://ann:secret@login.example/keys"}),
    ("KEYS", {"KEYS": "https://login.example:0/keys"}),
    ("KEYS", {"KEYS": "https://login.example/keys#now"}),
    ("SECRET_FILE", {"SECRET_FILE": "{}/nothing"}),
    ("SECRET_FILE", {"SECRET_FILE": "{}"}),
    ("SECRET_FILE", {"SECRET_FILE": "/dev/zero"}),
    ("SECRET_FILE", {"SECRET_FILE": "{}/short"}),
    ("SECRET_FILE", {"SECRET_FILE": "{}/short-line"}),
    ("SECRET_FILE", {"SECRET_FILE": "{}/long"}),
    ("SECRET_FILE", {"SECRET_FILE": "{}/same"}),
    ("SECRET_FILE", {"SECRET_FILE": "{}/pem"}),
    ("SESSION_KEY_FILE", {**KEYS, "SESSION_KEY_FILE": "{}/short"}),
    ("ALGORITHMS", {**KEYS, "ALGORITHMS": "none"}),
    ("ALGORITHMS", {**KEYS, "ALGORITHMS": "HS256"}),
    ("ALGORITHMS", {**KEYS, "ALGORITHMS": "EdDSA,HS512"}),
    ("ALGORITHMS", {**KEYS, "ALGORITHMS": "eddsa"}),
    ("ALGORITHMS", {**KEYS, "SECRET_FILE": "{}/secret", "ALGORITHMS": "EdDSA"}),
    ("ALGORITHMS", {**KEYS, "SECRET_FILE": "{}/secret", "ALGORITHMS": "HS256"}),
    ("ALGORITHMS", {"ALGORITHMS": "EdDSA"}),
    ("ISSUER", {**KEYS, "ISSUER": "a\nb"}),
    ("ISSUER", {"ISSUER": "testcast"}),
    ("AUDIENCE", {**KEYS, "AUDIENCE": "x" * 256}),
    ("AUDIENCE", {"AUDIENCE": "testcast"}),
    ("ANONYMOUS", {**KEYS, "ANONYMOUS": "*"}),
    ("ANONYMOUS", {**KEYS, "ANONYMOUS": "Open"}),
    ("ANONYMOUS", {**KEYS, "ANONYMOUS": "a/b"}),
    ("ANONYMOUS", {"ANONYMOUS": "open"}),
    ("SESSION_KEY_FILE", {"SESSION_KEY_FILE": "{}/session"}),
    ("SESSION_KEY_FILE", {"SECRET_FILE": "{}/secret", "SESSION_KEY_FILE": "{}/secret"}),
]


@pytest.mark.parametrize(("name", "settings"), WRONG, ids=str)
def test_what_makes_no_sense_is_refused_with_the_name(name: str, settings: dict[str, str], files: Path) -> None:
    os.mkfifo(files / "fifo")
    rsa = a_key("RS256")
    (files / "short").write_bytes(SECRET[:31])
    (files / "short-line").write_bytes(b"0123456789abcdef0123456789abcde\n")
    (files / "long").write_bytes(os.urandom(4097))
    (files / "same").write_bytes(b"a" * 64)
    (files / "pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\n" + jwks(public(rsa, "RS256")))
    with pytest.raises(InvalidSetting, match=f"^{PREFIX}{name}: ") as refused:
        read(files, **settings)
    assert "secret@" not in refused.value.message


def test_a_line_end_after_text_does_not_belong_to_a_secret(files: Path) -> None:
    text = b"0123456789abcdef0123456789abcdef"
    binary = bytes(range(31)) + b"\n"
    for content, secret in ((text + b"\n", text), (text + b"\r\n", text), (binary, binary)):
        (files / "secret").write_bytes(content)
        assert read(files, SECRET_FILE="{}/secret").secret == secret


def test_a_secret_shows_nothing_of_itself(files: Path) -> None:
    found = read(files, SECRET_FILE="{}/secret", SESSION_KEY_FILE="{}/session")
    shown = f"{found} {found!r} {found.secret} {found.secret!r} {found.secret:s} {load({})}"
    assert SECRET.decode() not in shown and "<Secret>" in shown
    assert f"{found.secret}" == "<Secret>"


def test_a_file_that_others_may_read_is_a_warning(files: Path) -> None:
    settings = {f"{PREFIX}SECRET_FILE": f"{files}/secret", f"{PREFIX}KEYS": f"{files}/keys.json"}
    assert access_warnings(settings) == []
    for mode in (0o640, 0o604, 0o602):
        (files / "secret").chmod(mode)
        [warning] = access_warnings(settings)
        assert warning.startswith(f"{PREFIX}SECRET_FILE: ") and "chmod 600" in warning
