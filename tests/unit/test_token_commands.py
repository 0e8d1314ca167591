"""`testcast token …`: files that are never overwritten, and tokens that are explained and not leaked."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.contract.errors import BadInput
from testcast.cli import main as cli
from testcast.local import access_files as made
from tests.tokens import NOW, a_key, a_token, base64url, claims, jwks, public
from ws_edge.access.tokens import Verifier
from ws_edge.config import access

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """Runs a command line in this process, at `NOW`: exit status, standard output, standard error."""
    monkeypatch.setenv("TESTCAST_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("testcast.cli.tokens.time.time", lambda: NOW)
    for name in ("TESTCAST_ACCESS_KEYS", "TESTCAST_ACCESS_ISSUER", "TESTCAST_ACCESS_AUDIENCE"):
        monkeypatch.delenv(name, raising=False)

    def run(*argv: str, text: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["testcast", "token", *argv])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_an_edge_accepts_what_init_makes(algorithm: str, typed: Typed, tmp_path: Path) -> None:
    code, out, err = typed("init", "--algorithm", algorithm)
    where = tmp_path / "access"
    assert code == 0 and out.startswith(str(where))
    token = (where / "token").read_text().strip()
    assert token not in out + err
    settings = made.access_settings(where)
    assert all(f"{name}={value}" in err for name, value in settings.items())
    config = access(settings)
    principal = Verifier(config).verify(token, made.read_keys(where / "keys.json"), NOW).principal
    assert (principal.subject, principal.projects, principal.expires_at) == ("admin", None, NOW + 90 * 86400)
    assert config.session_key is not None and len(config.session_key) == 64
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in where.iterdir()}
    assert modes == {"keys.json": 0o644, "signing-key.json": 0o600, "session.key": 0o600, "token": 0o600}
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    assert '"d"' not in (where / "keys.json").read_text()


@pytest.mark.parametrize("name", ["keys.json", "signing-key.json", "session.key", "token"])
def test_init_overwrites_nothing(name: str, typed: Typed, tmp_path: Path) -> None:
    where = tmp_path / "access"
    where.mkdir()
    (where / name).symlink_to("nowhere") if name == "token" else (where / name).write_text("mine")
    code, out, err = typed("init")
    assert (code, out) == (2, "") and f"has {name} already" in err
    assert [each.name for each in where.iterdir()] == [name]


def test_init_leaves_nothing_half_made(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = made.write_new

    def full(path: Path, content: bytes, mode: int = 0o600) -> None:
        if path.name == "token":
            raise OSError(28, "No space left on device")
        write(path, content, mode)

    monkeypatch.setattr(made, "write_new", full)
    code, _, err = typed("init")
    assert code == 2 and "No space left" in err
    assert list((tmp_path / "access").iterdir()) == []


def test_init_for_programs(typed: Typed, tmp_path: Path) -> None:
    code, out, _ = typed("init", "--dir", str(tmp_path / "other"), "--json")
    told = json.loads(out)
    assert code == 0 and told["settings"] == made.access_settings(tmp_path / "other")
    assert Path(told["token"]).read_text() and Path(told["signingKey"]).exists()


def test_issue_and_inspect(typed: Typed, tmp_path: Path) -> None:
    typed("init")
    code, token, _ = typed("issue", "--sub", "ann", "--projects", "red, blue", "--can", "list,watch", "--for", "1h30m")
    assert code == 0
    code, out, _ = typed("inspect", text=token)
    assert code == 0
    for words in (
        "ann",
        "list, watch in red, blue",
        "in 90 minutes",
        "right, by",
        "an edge accepts it, unless it was revoked",
    ):
        assert words in out
    assert token.strip() not in out
    (tmp_path / "t").write_text(token)
    code, out, _ = typed("inspect", str(tmp_path / "t"), "--json")
    told: dict[str, Any] = json.loads(out)
    assert (code, told["accepted"], told["signature"], told["problems"]) == (0, True, "right", [])
    assert told["claims"]["exp"] == NOW + 5400


def test_issue_defaults_to_little(typed: Typed) -> None:
    typed("init")
    _, out, _ = typed("issue", "--sub", "ann", "--json")
    told = json.loads(out)
    assert (told["projects"], told["can"], told["expiresAt"]) == (
        ["default"],
        ["list", "watch"],
        (NOW + 8 * 3600) * 1000,
    )


def test_issue_into_a_file(typed: Typed, tmp_path: Path) -> None:
    typed("init")
    file = tmp_path / "for-ann"
    code, out, err = typed("issue", "--sub", "ann", "--out", str(file))
    token = file.read_text().strip()
    assert code == 0 and token not in out + err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, _, err = typed("issue", "--sub", "bob", "--out", str(file))
    assert code == 2 and "File exists" in err
    assert file.read_text().strip() == token


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--projects", "Red"], "not the name of a project"),
        (["--projects", "red,*"], "not the name of a project"),
        (["--projects", ","], "need a name"),
        (["--can", "fly"], "not the name of an action: there are list"),
        (["--for", "soon"], "no length of time"),
        (["--for", "0s"], "at most 366d"),
        (["--for", "367d"], "at most 366d"),
        (["--sub", ""], "subject"),
        (["--sub", "a\nb"], "subject"),
        (["--sub", "anonymous"], "subject"),
        (["--key", "nothing.json"], "cannot be read"),
    ],
)
def test_issue_refuses_what_no_edge_accepts(typed: Typed, options: list[str], words: str) -> None:
    typed("init")
    code, out, err = typed("issue", "--sub", "ann", *options)
    assert (code, out) == (2, "") and words in err


def test_issue_needs_a_private_key(typed: Typed, tmp_path: Path) -> None:
    code, _, err = typed("issue", "--sub", "ann")
    assert code == 2 and "testcast token init" in err
    for name, content in (
        ("public", json.dumps(public(a_key("EdDSA"), "k"))),
        ("curve", json.dumps({**public(a_key("EdDSA"), "k"), "crv": "P-521"})),
        ("oct", '{"kty": "oct", "k": "c2VjcmV0"}'),
        ("text", "hello"),
        ("set", jwks().decode()),
    ):
        (tmp_path / name).write_text(content)
        code, _, err = typed("issue", "--sub", "ann", "--key", str(tmp_path / name))
        assert code == 2 and ("is a public key" in err or "is not a private key" in err), name


def test_a_token_on_the_command_line_is_refused(typed: Typed) -> None:
    token = a_token()
    code, out, err = typed("inspect", token)
    assert (code, out) == (2, "") and "does not belong on the command line" in err
    assert token not in err


def test_inspect_tells_every_problem(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(jwks(public(a_key("EdDSA", 1), "EdDSA")))
    body = claims(exp=int(NOW) - 7200, iss="other", projects=["\x1b[31mred"], can=["list", "fly"], jti=None)
    code, out, _ = typed("inspect", "--keys", str(tmp_path / "keys.json"), text=a_token(body=body, header={"jku": "x"}))
    assert code == 1
    for words in (
        "signature is wrong",
        "expired 2 hours ago",
        "another issuer (iss): expected testcast",
        "projects holds something",
        "ignore: fly",
        "cannot be revoked",
        "brings keys along (jku)",
    ):
        assert words in out
    assert "\x1b[31m" not in out


def test_inspect_without_keys(typed: Typed) -> None:
    code, out, _ = typed("inspect", "-", text=a_token())
    assert code == 0 and "not checked: --keys names" in out and "no problem found" in out
    code, out, _ = typed("inspect", text=a_token("HS256"))
    assert code == 0 and "needs the secret" in out


@pytest.mark.parametrize(
    "text", ["", "hello", "a.b.c", "x" * 9000, f"{base64url(b'{}')}.{base64url(b'{}')}.AAAA", "\x1b[2J"]
)
def test_inspect_takes_anything(typed: Typed, text: str) -> None:
    code, out, _ = typed("inspect", text=text)
    assert code == 1 and "problem" in out and "\x1b" not in out
    code, out, _ = typed("inspect", "--json", text=text)
    assert code == 1 and json.loads(out)["accepted"] is False


@pytest.mark.parametrize("moment", [10**300, -(10**300), 1e308, True, "soon", None])
def test_inspect_takes_any_moment(typed: Typed, moment: object) -> None:
    code, out, _ = typed("inspect", text=a_token(body=claims(exp=moment)))
    assert code == 1 and "problem" in out


def test_an_algorithm_that_no_edge_accepts_makes_no_key() -> None:
    with pytest.raises(BadInput, match="none of"):
        made.make(Path("nowhere"), NOW, "HS256")
