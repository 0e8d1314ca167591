"""The commands about runs, with their arguments and options: one run each, the list, and the backup of all.

The modules that do the work are imported when a command runs, so that `testcast --help` answers at once.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from testcast.cli import options as shared
from testcast.cli.terminal import Terminal

if TYPE_CHECKING:
    from broker.contract.snapshot import ListStatus
    from testcast.cli.server import Server

_TYPES: Final = ("status", "progress", "complete", "error")
_STATUSES: Final = ("queued", "running", "completed", "failed", "cancelled")


@click.command()
@click.argument("url")
@shared.title_option
@shared.budget_option
@shared.seed_option
@shared.seeds_option
@shared.project_option
@shared.label_option("Label of the run, such as commit=abc")
@shared.follow_option
@click.option(
    "--min-score",
    type=click.FloatRange(0, 100),
    metavar="N",
    help="CI: a score below N, or such a median, is a failure; follows.",
)
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="CI: write JUnit XML, also of a failure; follows.",
)
@click.option(
    "--github-summary", "github", is_flag=True, help="CI: summary and annotations of a step of GitHub Actions; follows."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="CI: cancel the run when it has not ended after this time; follows.",
)
@shared.edge_option
@shared.nats_option
@shared.json_option
def submit(
    url: str,
    title: str | None,
    budget: float | None,
    seed: int | None,
    seeds: int | None,
    project: str | None,
    labels: dict[str, str],
    follow: bool,
    min_score: float | None,
    junit: Path | None,
    github: bool,
    timeout_s: float | None,
    edge: str | None,
    nats: str | None,
    as_json: bool,
) -> int:
    """Submit the game at URL to be tested, and print the test id.

    On a terminal the address of the run's page is printed too; with --json it is the field `page`.

    \b
    Exit status with an option for CI or --seeds: 0 completed with the score that was asked for; 1 the game failed, or
    its score is too low; 2 wrong usage, or refused; 3 no connection; 4 no verdict: cancelled, lost, or out of time.
    """
    from testcast.cli import ci, commands
    from testcast.cli.targets import complete_game_url

    request = commands.SubmitRequest(complete_game_url(url), title, budget, seed, project, labels)
    server, wishes = shared.server(edge, nats), ci.Wishes(min_score, junit, github, timeout_s)
    if seeds is not None:
        from testcast.cli import seeds as several

        return asyncio.run(several.submit(request, seeds, wishes, server, Terminal(), as_json=as_json))
    if wishes.any:
        return asyncio.run(ci.submit(request, wishes, server, Terminal(), as_json=as_json))
    return asyncio.run(commands.submit(request, server, Terminal(), follow=follow, as_json=as_json))


@click.command("list")
@click.option("--watch", is_flag=True, help="Keep showing the list as it changes.")
@click.option("--status", type=click.Choice(_STATUSES), help="Show only runs with this status.")
@click.option("--since", metavar="WHEN", help="Show only runs submitted since then: 30m, 2h, 3d, today, 2026-11-20, …")
@shared.label_option("Show only runs with this label")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Number of runs.")
@shared.edge_option
@shared.nats_option
@shared.json_option
def list_(
    watch: bool,
    status: ListStatus | None,
    since: str | None,
    labels: dict[str, str],
    limit: int,
    edge: str | None,
    nats: str | None,
    as_json: bool,
) -> int:
    """List the newest runs.

    WHEN is how long ago a run was submitted, TIME how long it took or has been running.
    """
    from testcast.cli import commands
    from testcast.cli.listing import Selection
    from testcast.cli.moments import parse_since

    since_ms = 0 if since is None else parse_since(since, datetime.now().astimezone())
    selection = Selection(status, limit, since_ms, labels)
    server = shared.server(edge, nats)
    return asyncio.run(commands.list_runs(selection, server, Terminal(), watch=watch, as_json=as_json))


@click.command()
@click.argument("target", required=False, metavar="[RUN | all | DASHBOARD-URL]")
@click.option("--after", type=click.IntRange(0), metavar="SEQ", help="Resume after this position.")
@click.option(
    "--type", "types", type=click.Choice(_TYPES), multiple=True, help="Show only events of this type; repeatable."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="Exit when the connection is lost for this long (default: broker 60 s, edge 10 attempts).",
)
@shared.edge_option
@shared.nats_option
@shared.json_option
def tail(
    target: str | None,
    after: int | None,
    types: tuple[str, ...],
    timeout: float | None,
    edge: str | None,
    nats: str | None,
    as_json: bool,
) -> int:
    """Show the events of a run until it ends, or of all runs from now on.

    A lost connection is resumed at the last position. When events are no longer stored, a line says so. The exit
    status is the verdict of the run: 0 completed, 1 failed or cancelled, and 3 when the connection was lost. With
    --json each event is one line.
    """
    from testcast.cli import commands
    from testcast.cli.targets import parse_target

    followed = parse_target(target, edge)
    if followed.edge is not None and followed.run is None and after is not None:
        raise click.UsageError("--after: through an edge it needs a test id")
    request = commands.TailRequest(followed.run, after, types, timeout)
    return asyncio.run(commands.tail(request, shared.server(followed.edge, nats), Terminal(), as_json=as_json))


@click.command()
@shared.run_argument
@click.option("--lines", type=click.IntRange(0), default=10, show_default=True, help="Number of last events.")
@shared.edge_option
@shared.nats_option
@shared.json_option
def show(run: str, lines: int, edge: str | None, nats: str | None, as_json: bool) -> int:
    """Show a run: its facts, verdict, score, metrics and last events.

    The exit status is 0 however the run ended. --json prints its snapshot.
    """
    from testcast.cli import run_actions

    name, server = _run(run, edge, nats)
    return asyncio.run(run_actions.show(name, server, Terminal(), last_lines=lines, as_json=as_json))


@click.command("open")
@click.argument("run", metavar="[RUN]", required=False)
@shared.edge_option
@shared.nats_option
def open_(run: str | None, edge: str | None, nats: str | None) -> int:
    """Open the page of a run in the browser, and print its address; without RUN the dashboard.

    Without --edge the page is looked for at TESTCAST_EDGE_PUBLIC_URL, or http://127.0.0.1:8000.
    """
    from testcast.cli import run_actions

    if run is None:
        return asyncio.run(run_actions.open_page(None, shared.server(edge, nats), Terminal()))
    name, server = _run(run, edge, nats)
    return asyncio.run(run_actions.open_page(name, server, Terminal()))


@click.command()
@shared.run_argument
@shared.edge_option
@shared.nats_option
@shared.json_option
def cancel(run: str, edge: str | None, nats: str | None, as_json: bool) -> int:
    """Cancel a run that is queued or running.

    The exit status is 0 when the run was cancelled, 1 when it had ended before.
    """
    from testcast.cli import run_actions

    name, server = _run(run, edge, nats)
    return asyncio.run(run_actions.cancel(name, server, Terminal(), as_json=as_json))


@click.command()
@shared.run_argument
@shared.follow_option
@shared.edge_option
@shared.nats_option
@shared.json_option
def rerun(run: str, follow: bool, edge: str | None, nats: str | None, as_json: bool) -> int:
    """Submit the game of a run again, with the same title, budget, seed, project and labels. Prints the new test id."""
    from testcast.cli import run_actions

    name, server = _run(run, edge, nats)
    return asyncio.run(run_actions.rerun(name, server, Terminal(), follow=follow, as_json=as_json))


@click.command()
@shared.run_argument
@click.option("--yes", "sure", is_flag=True, help="Do not ask.")
@shared.edge_option
@shared.nats_option
@shared.json_option
def delete(run: str, sure: bool, edge: str | None, nats: str | None, as_json: bool) -> int:
    """Delete a run that has ended and is not pinned: its events, pictures, snapshot and share links. Asks first.

    Edges and open pages drop the run. It cannot be restored, except from a backup.
    """
    from testcast.cli import keeping

    name, server = _run(run, edge, nats)
    return asyncio.run(keeping.delete(name, server, Terminal(), sure=sure, as_json=as_json))


@click.command()
@shared.run_argument
@shared.edge_option
@shared.nats_option
@shared.json_option
def pin(run: str, edge: str | None, nats: str | None, as_json: bool) -> int:
    """Keep a run for good: its age does not delete it, and nobody can before it is unpinned."""
    from testcast.cli import keeping

    name, server = _run(run, edge, nats)
    return asyncio.run(keeping.pin(name, server, Terminal(), as_json=as_json))


@click.command()
@shared.run_argument
@shared.edge_option
@shared.nats_option
@shared.json_option
def unpin(run: str, edge: str | None, nats: str | None, as_json: bool) -> int:
    """Keep a pinned run only as long as all others again."""
    from testcast.cli import keeping

    name, server = _run(run, edge, nats)
    return asyncio.run(keeping.unpin(name, server, Terminal(), as_json=as_json))


@click.command()
@shared.run_argument
@click.option("--for", "length", metavar="LENGTH", help="How long the link works: 30m, 12h, 7d, … (default: 7d).")
@click.option("--list", "show_links", is_flag=True, help="Show the links that work, and make none.")
@click.option("--revoke", metavar="LINK", help="End the link with this id, and make none.")
@shared.edge_option
@shared.json_option
def share(run: str, length: str | None, show_links: bool, revoke: str | None, edge: str | None, as_json: bool) -> int:
    """Make a link that shows a run to people without an account, and print it.

    Whoever has the link may watch this run and do nothing else. It works through an edge with authentication: --edge,
    or TESTCAST_EDGE_PUBLIC_URL, or http://127.0.0.1:8000.
    """
    from testcast.cli import share as links
    from testcast.cli.moments import parse_length

    if [length is not None, show_links, revoke is not None].count(True) > 1:
        raise click.UsageError("--for, --list and --revoke: give only one of them")
    name, server = _run(run, edge, None)
    if show_links:
        return asyncio.run(links.show(name, server, Terminal(), as_json=as_json))
    if revoke is not None:
        return asyncio.run(links.revoke(name, revoke, server, Terminal(), as_json=as_json))
    return asyncio.run(links.make(name, parse_length(length or "7d"), server, Terminal(), as_json=as_json))


@click.command()
@shared.run_argument
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="FILE", help="Write this file; - for stdout.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with events and pictures.")
@click.option("--junit", "as_junit", is_flag=True, help="JUnit XML of the verdict, for CI systems.")
@click.option("--gif", "as_gif", is_flag=True, help="The pictures as an animated GIF.")
@click.option("--webp", "as_webp", is_flag=True, help="The pictures as an animated WebP.")
@click.option("--from", "first", type=int, metavar="SEQ", help="Begin at this event.")
@click.option("--to", "last", type=int, metavar="SEQ", help="End with this event.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@shared.edge_option
@shared.nats_option
def export(
    run: str,
    output: Path | None,
    as_json: bool,
    as_junit: bool,
    as_gif: bool,
    as_webp: bool,
    first: int | None,
    last: int | None,
    force: bool,
    edge: str | None,
    nats: str | None,
) -> int:
    """Write a run into a file, and print the file's name.

    Without an option it is one HTML file that needs no network: the run's page with its events and pictures. The
    ending of FILE chooses the format, too. A run that has not ended is exported as it is now.

    \b
    testcast export last
    testcast export last -o report.xml
    testcast export 4f9c --gif --from 120 --to 180
    """
    from testcast.cli import export as exports

    options = {"json": as_json, "junit": as_junit, "gif": as_gif, "webp": as_webp}
    chosen = [form for form, wanted in options.items() if wanted]
    name, server = _run(run, edge, nats)
    request = exports.ExportRequest(exports.format_of(chosen, output), output, first, last, force)
    return asyncio.run(exports.export(name, request, server, Terminal()))


_directory = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@_directory
@shared.nats_option
def backup(directory: Path, nats: str | None) -> int:
    """Save the events, pictures, pins and share links of all runs into DIRECTORY, while everything goes on."""
    from testcast.cli import run_actions

    return asyncio.run(run_actions.backup(directory, shared.server(None, nats), Terminal()))


@click.command()
@_directory
@click.option("--yes", "sure", is_flag=True, help="Do not ask.")
@shared.nats_option
def restore(directory: Path, sure: bool, nats: str | None) -> int:
    """Replace all runs of the broker by those that `backup` saved in DIRECTORY. Asks first.

    Stop the edges and agents before: they would declare a stream anew while it is replaced.
    """
    from testcast.cli import run_actions

    return asyncio.run(run_actions.restore(directory, shared.server(None, nats), Terminal(), sure=sure))


@click.command()
@shared.nats_option
def declare(nats: str | None) -> int:
    """Make the streams on the broker that are missing, and change what has to be.

    Needs an operator's login. Edges and agents do the same where they may (TESTCAST_NATS_MANAGE_STREAMS).
    """
    from testcast.cli import run_actions

    return asyncio.run(run_actions.declare(shared.server(None, nats), Terminal()))


def _run(given: str, edge: str | None, nats: str | None) -> tuple[str, Server]:
    """The name of a run as it was typed, and what to connect to."""
    from testcast.cli.targets import parse_run

    name, named_edge = parse_run(given, edge)
    return name, shared.server(named_edge, nats)


COMMANDS: Final = (
    *(submit, list_, tail, show, open_, cancel, rerun, share),
    *(export, pin, unpin, delete, backup, restore, declare),
)
