"""The commands `token init`, `token issue` and `token inspect`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from rich.text import Text

from broker.contract.access import EVERYTHING
from broker.contract.durations import duration
from broker.contract.errors import BadInput
from broker.contract.tokens import MAX_TOKEN_BYTES
from testcast import config
from testcast.cli.moments import full, parse_length
from testcast.cli.terminal import Terminal
from testcast.cli.text import printable
from testcast.exit_codes import EXIT_COMPLETED, EXIT_FAILED
from testcast.local import access_files as files

_LIKE_A_TOKEN: Final = re.compile(r"\s*eyJ[\w=-]*\.[\w=-]*\.?[\w=-]*\s*")


def init(directory: Path | None, algorithm: str, terminal: Terminal, *, as_json: bool) -> int:
    """Makes the keys of a protected installation and an administrator's token. Returns the exit status."""
    where = config.access_directory(directory)
    files.make(where, time.time(), algorithm, files.administrator(files.ADMIN_LIFETIME_S, *config.token_issuer()))
    settings = files.access_settings(where)
    if as_json:
        names = {
            "keys": files.KEYS,
            "signingKey": files.SIGNING_KEY,
            "sessionKey": files.SESSION_KEY,
            "token": files.TOKEN,
        }
        paths = {name: str(where / each) for name, each in names.items()}
        terminal.raw(orjson.dumps({"directory": str(where), **paths, "settings": settings}))
        return EXIT_COMPLETED
    told = {
        files.KEYS: "public keys, for the edges",
        files.SIGNING_KEY: "signs tokens: keep it secret",
        files.SESSION_KEY: "signs sessions of browsers, for the edges: keep it secret",
        files.TOKEN: f"may do everything for {duration(files.ADMIN_LIFETIME_S)}: keep it secret",
    }
    terminal.say(str(where))
    for name, what in told.items():
        terminal.say(f"  {name:17} {what}")
    terminal.note("an edge uses them with:")
    for name, value in settings.items():
        terminal.note(f"  {name}={value}")
    terminal.note(f"a command uses the token with: TESTCAST_TOKEN_FILE={where / files.TOKEN}")
    return EXIT_COMPLETED


class IssueRequest(NamedTuple):
    """The options of `token issue`, as they were typed."""

    subject: str
    projects: str
    can: str
    lifetime: str
    key: Path | None
    out: Path | None


def issue(request: IssueRequest, terminal: Terminal, *, as_json: bool) -> int:
    """Makes a token and prints it, or writes it to a file. Returns the exit status.

    Raises:
        BadInput: an option makes no sense, the key cannot be used, or the file is there already.
    """
    lifetime_s = parse_length(request.lifetime)
    projects, can = _names(request.projects), _names(request.can)
    grant = files.Grant(request.subject, projects, can, lifetime_s, *config.token_issuer())
    path = request.key or config.access_directory(None) / files.SIGNING_KEY
    if request.key is None and not path.is_file():
        raise BadInput(f"there is no signing key at {path}: `testcast token init` makes one, --key names another")
    now = time.time()
    token = files.issue(files.read_signing_key(path), grant, now)
    if request.out is not None:
        try:
            files.write_new(request.out, token.encode() + b"\n")
        except OSError as error:
            raise BadInput(f"cannot write {request.out}: {error.strerror}") from None
    until = int((now + lifetime_s) * 1000)
    if as_json:
        where = {"token": token} if request.out is None else {"file": str(request.out)}
        told = {"subject": grant.subject, "projects": projects, "can": can, "expiresAt": until}
        terminal.raw(orjson.dumps(where | told))
        return EXIT_COMPLETED
    terminal.say(token if request.out is None else str(request.out))
    if terminal.is_watched:
        terminal.note(f"{grant.subject}: {_allowed({'projects': projects, 'can': can})}, until {full(until)}")
    return EXIT_COMPLETED


def _names(given: str) -> list[str] | str:
    names = [each.strip() for each in given.split(",") if each.strip()]
    if not names:
        raise BadInput("--projects and --can need a name, or '*' for all")
    return EVERYTHING if names == [EVERYTHING] else names


def inspect(file: str | None, keys: Path | None, terminal: Terminal, *, as_json: bool) -> int:
    """Says what a token allows, until when, and what is wrong with it. Returns 0 when an edge accepts it, else 1.

    Raises:
        BadInput: there is no token to read.
    """
    text = given_token(file)
    known = keys or config.keys_file()
    now = time.time()
    public = None if known is None else files.read_keys(known)
    found = files.inspect(text, public, now, *config.token_issuer())
    claims = {} if found.token is None else found.token.claims
    signature = f"{found.signature}, by {known}" if found.signature == "right" else found.signature
    if as_json:
        header = None if found.token is None else found.token.header
        told = {"claims": claims or None, "header": header, "signature": found.signature}
        terminal.raw(
            orjson.dumps({"accepted": not found.problems, **told, "problems": found.problems, "remarks": found.remarks})
        )
    else:
        _show(claims, signature, found, now, terminal)
    return EXIT_FAILED if found.problems else EXIT_COMPLETED


def given_token(file: str | None) -> str:
    """The token in a file, or on standard input where there is no file or `-`."""
    if file is not None and _LIKE_A_TOKEN.fullmatch(file):
        raise BadInput("a token does not belong on the command line, where every user of this machine sees it: "
                       "name a file, or pass it on standard input")  # fmt: skip
    if file is not None and file != "-":
        return files.read_token(Path(file))
    if sys.stdin.isatty():
        Terminal().note("paste the token, then press Enter")
        return sys.stdin.readline(MAX_TOKEN_BYTES + 2).strip()
    return sys.stdin.buffer.read(MAX_TOKEN_BYTES + 2).decode("latin-1").strip()


def _show(claims: Mapping[str, Any], signature: str, found: files.Inspection, now: float, terminal: Terminal) -> None:
    if found.token is not None:
        for name, value in (
            ("of", claims.get("sub")),
            ("id", claims.get("jti", "none")),
            ("may", _allowed(claims)),
            ("from", f"{claims.get('iss')}, for {claims.get('aud')}"),
            ("until", _until(claims.get("exp"), now)),
        ):
            terminal.say(Text.assemble((f"{name:10}", "bold"), printable(str(value))))
    terminal.say(Text.assemble((f"{'signature':10}", "bold"), signature))
    for each in found.remarks:
        terminal.say(Text.assemble((f"{'note':10}", "bold yellow"), printable(each)))
    for each in found.problems:
        terminal.say(Text.assemble((f"{'problem':10}", "bold red"), printable(each)))
    if not found.problems:
        good = "an edge accepts it, unless it was revoked" if found.signature == "right" else "no problem found"
        terminal.say(Text(good, style="green"))


def _allowed(claims: Mapping[str, Any]) -> str:
    """What the claims allow, as they say it."""
    projects, can = claims.get("projects"), claims.get("can")
    actions = "everything" if can == EVERYTHING else ", ".join(map(str, can)) if isinstance(can, list) else "nothing"
    if projects == EVERYTHING:
        return f"{actions} in all projects"
    names = ", ".join(map(str, projects)) if isinstance(projects, list) else ""
    return f"{actions} in {names or 'no project'}"


def _until(moment: object, now: float) -> str:
    if not isinstance(moment, int | float) or isinstance(moment, bool) or abs(moment) > 2**53:
        return "not known"
    away = moment - now
    when = f"in {duration(away)}" if away > 0 else f"{duration(-away)} ago"
    return f"{full(int(moment * 1000))} ({when})"
