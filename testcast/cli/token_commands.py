"""The commands `token …`, with their arguments and options: keys and tokens of a protected installation.

The modules that do the work are imported when a command runs, so that `testcast --help` answers at once.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click

from broker import extras
from broker.contract.access import ACTIONS, PUBLIC_KEY_ALGORITHMS
from testcast.cli.options import edge_option, json_option
from testcast.cli.terminal import Terminal

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.group()
def token() -> None:
    """Make keys and tokens, and explain a token.

    \b
    testcast token init                                       keys, and a token for yourself
    testcast token issue --sub ann --projects red --for 8h    a token for somebody else
    testcast token inspect FILE                               what a token allows, and what is wrong with it
    testcast token revoke FILE                                it is refused from now on
    """


@token.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where (default: access/ in TESTCAST_STATE_DIR).",
)
@click.option(
    "--algorithm",
    type=click.Choice(PUBLIC_KEY_ALGORITHMS),
    default="EdDSA",
    show_default=True,
    help="Of the signing key.",
)
@json_option
def init(directory: Path | None, algorithm: str, as_json: bool) -> int:
    """Make the keys of a protected installation, and a token that may do everything for 90 days.

    Files that exist are never overwritten. The token goes into a file, and is not printed.
    """
    extras.require("edge", "testcast token")
    from testcast.cli import tokens

    return tokens.init(directory, algorithm, Terminal(), as_json=as_json)


@token.command()
@click.option("--sub", "subject", required=True, metavar="NAME", help="Whose token it is; logs show it.")
@click.option(
    "--projects",
    default="default",
    show_default=True,
    metavar="NAMES",
    help="Names, separated by commas, or '*' for all.",
)
@click.option(
    "--can",
    default="list,watch",
    show_default=True,
    metavar="ACTIONS",
    help=f"Of {', '.join(ACTIONS)}, or '*' for all.",
)
@click.option(
    "--for", "lifetime", default="8h", show_default=True, metavar="LENGTH", help="30m, 8h, 7d, …; at most 366d."
)
@click.option("--key", type=_FILE, help="The signing key (default: the one of `token init`).")
@click.option("--out", type=_FILE, help="Write it to this new file, which only you can read, instead of printing it.")
@json_option
def issue(
    subject: str, projects: str, can: str, lifetime: str, key: Path | None, out: Path | None, as_json: bool
) -> int:
    """Make a token and print it."""
    extras.require("edge", "testcast token")
    from testcast.cli import tokens

    request = tokens.IssueRequest(subject, projects, can, lifetime, key, out)
    return tokens.issue(request, Terminal(), as_json=as_json)


@token.command()
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--keys", type=_FILE, help="The public keys (default: those of the edges of this machine).")
@json_option
def inspect(file: str | None, keys: Path | None, as_json: bool) -> int:
    """Explain the token in FILE, or on standard input: what it allows, until when, and what is wrong with it.

    Exit status: 0 an edge accepts it, 1 it does not.
    """
    extras.require("edge", "testcast token")
    from testcast.cli import tokens

    return tokens.inspect(file, keys, Terminal(), as_json=as_json)


@token.command()
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--jti", metavar="ID", help="The id of the token (jti), instead of the token itself.")
@edge_option
def revoke(file: str | None, jti: str | None, edge: str | None) -> int:
    """Revoke the token in FILE, or on standard input, on every edge, with the sessions that were made from it.

    Takes effect within a second, also on open sockets. The token that --token-file or TESTCAST_TOKEN_FILE names says
    who revokes: it has to allow admin in all projects.
    """
    extras.require("edge", "testcast token")
    from testcast import config
    from testcast.cli import revocation

    return asyncio.run(revocation.revoke(edge or config.local_edge(), file, jti, Terminal()))
