"""The command `testcast`: its commands and options, and the exit status of each.

The modules that do the work are imported when a command runs, so that `testcast --help` answers at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from broker.contract.errors import BrokerUnavailable, TestcastError
from testcast import config
from testcast.cli.streams import as_text, discard_output, prepare_streams
from testcast.cli.terminal import Terminal
from testcast.exit_codes import EXIT_LOST, EXIT_SIGNAL, EXIT_USAGE, exit_status

if TYPE_CHECKING:
    from testcast.cli.commands import Server

_PROGRAM: Final = "testcast"
_TYPES: Final = ("status", "progress", "complete", "error")
_STATUSES: Final = ("queued", "running", "completed", "failed")
_PORT: Final = click.IntRange(1, 65535)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing the output to a file, as opposed to those of a connection."""

_nats = click.option(
    "--nats", metavar="URL", help="Address of the broker (default: TESTCAST_NATS_URL, or nats://127.0.0.1:4222)."
)
_edge = click.option("--edge", metavar="URL", help="Use the edge at this address instead of the broker.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
_title = click.option("--title", help="Title that viewers see (default: the game's address).")
_budget = click.option(
    "--budget", type=float, metavar="SECONDS", help="How long the agent may play, 5 to 600 (default: 60)."
)
_seed = click.option("--seed", type=int, help="Seed of the agent's random choices (default: drawn).")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="testcast", prog_name=_PROGRAM)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Watch an automated tester play your web game, live.

    \b
    testcast demo                                      everything on this machine, with a small game
    testcast submit https://my-game.example --follow   test a game and show the run
    testcast tail 4f9c2d3e-…                           show a run until it ends

    \b
    Exit status: 0 run completed, 1 run failed, 2 wrong usage, 3 connection lost.
    """
    if ctx.invoked_subcommand not in ("edge", "agent"):  # which say it in their logs
        for each in config.unknown_settings():
            Terminal().note(f"warning: {each}", style="yellow")


@cli.command()
@click.option("--once", is_flag=True, help="Stop when the run ends; its verdict is the exit status.")
@click.option("--game", metavar="URL", help="Test this game instead of the bundled one.")
@click.option("--port", type=_PORT, default=8000, show_default=True, help="Port of the dashboard.")
@_seed
@_budget
def demo(once: bool, game: str | None, port: int, seed: int | None, budget: float | None) -> int:
    """Run everything on this machine and test a small game.

    Starts a broker, an edge, an agent and the game, prints the address of the dashboard and shows the run.
    Ctrl-C stops everything. A second one kills all processes at once.
    """
    from testcast.cli import demo as command
    from testcast.cli.targets import complete_game_url

    game_url = None if game is None else complete_game_url(game)
    request = command.DemoRequest(once, game_url, port, seed, budget)
    return asyncio.run(command.demo(request, config.broker(), Terminal()))


@cli.command()
@click.option(
    "--edges", type=click.IntRange(1, 32), default=1, show_default=True, help="Number of edges, on consecutive ports."
)
@click.option("--agents", type=click.IntRange(0, 32), default=1, show_default=True, help="Number of agents.")
@click.option("--port", type=_PORT, default=8000, show_default=True, help="Port of the first edge.")
@_nats
def up(edges: int, agents: int, port: int, nats: str | None) -> int:
    """Run a broker, edges and agents on this machine until Ctrl-C.

    With --nats or TESTCAST_NATS_URL they use that broker, and no other is started.
    """
    from testcast.cli import demo as command

    settings = config.broker(nats)
    nats_url = settings.nats_url if nats is not None or config.names_a_broker() else None
    return asyncio.run(command.up(command.UpRequest(edges, agents, port, nats_url), settings, Terminal()))


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=_PORT, default=4222, show_default=True, help="Port to listen on.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the data (default: one in TESTCAST_STATE_DIR).",
)
def broker(host: str, port: int, data: Path | None) -> int:
    """Run a NATS server with JetStream and the streams of testcast until Ctrl-C."""
    from testcast.cli import demo as command

    return asyncio.run(command.broker(host, port, data, config.broker(), Terminal()))


@cli.command()
@click.option("--host", help="Address to listen on (default: TESTCAST_EDGE_HOST, or 127.0.0.1).")
@click.option("--port", type=_PORT, help="Port to listen on (default: TESTCAST_EDGE_PORT, or 8000).")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes on that port (default: TESTCAST_EDGE_WORKERS, or 1)."
)
@_nats
def edge(host: str | None, port: int | None, workers: int | None, nats: str | None) -> NoReturn:
    """Run one edge: the dashboard, the RPC and the WebSockets."""
    settings: dict[str, object] = {
        "TESTCAST_EDGE_HOST": host,
        "TESTCAST_EDGE_PORT": port,
        "TESTCAST_EDGE_WORKERS": workers,
    }
    _execute("ws_edge", settings, nats)


@cli.command()
@click.option("--concurrency", type=int, help="Games at the same time (default: TESTCAST_AGENT_CONCURRENCY, or 2).")
@_nats
def agent(concurrency: int | None, nats: str | None) -> NoReturn:
    """Run one agent, which takes jobs from the queue and plays the games."""
    _execute("agent_worker", {"TESTCAST_AGENT_CONCURRENCY": concurrency}, nats)


@cli.command()
@click.argument("url")
@_title
@_budget
@_seed
@click.option("--follow", is_flag=True, help="Show the run until it ends; its verdict is the exit status.")
@_edge
@_nats
@_json
def submit(
    url: str,
    title: str | None,
    budget: float | None,
    seed: int | None,
    follow: bool,
    edge: str | None,
    nats: str | None,
    as_json: bool,
) -> int:
    """Submit the game at URL to be tested, and print the test id."""
    from testcast.cli import commands
    from testcast.cli.targets import complete_game_url

    request = commands.SubmitRequest(complete_game_url(url), title, budget, seed)
    return asyncio.run(commands.submit(request, _server(edge, nats), Terminal(), follow=follow, as_json=as_json))


@cli.command("list")
@click.option("--watch", is_flag=True, help="Keep showing the list as it changes.")
@click.option("--status", type=click.Choice(_STATUSES), help="Show only runs with this status.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Number of runs.")
@_edge
@_nats
@_json
def list_(watch: bool, status: str | None, limit: int, edge: str | None, nats: str | None, as_json: bool) -> int:
    """List the newest runs."""
    from testcast.cli import commands

    request = commands.ListRequest(status, limit, watch)
    return asyncio.run(commands.list_runs(request, _server(edge, nats), Terminal(), as_json=as_json))


@cli.command()
@click.argument("target", required=False, metavar="[ID | all | DASHBOARD-URL]")
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
@_edge
@_nats
@_json
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
    status is the verdict of the run: 0 completed, 1 failed, and 3 when the connection was lost.
    """
    from testcast.cli import commands
    from testcast.cli.targets import parse_target

    followed = parse_target(target, edge)
    if followed.edge is not None and followed.test_id is None and after is not None:
        raise click.UsageError("--after: through an edge it needs a test id")
    request = commands.TailRequest(followed.test_id, after, types, timeout)
    return asyncio.run(commands.tail(request, _server(followed.edge, nats), Terminal(), as_json=as_json))


@cli.command()
@click.option("--edge", metavar="URL", help="Check the edge at this address, as viewers have it.")
@click.option(
    "--long",
    "keep_s",
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    default=0.0,
    help="Keep an idle socket this long, which shows the idle timeout of a proxy.",
)
@_nats
@_json
def doctor(edge: str | None, keep_s: float, nats: str | None, as_json: bool) -> int:
    """Check this machine, the broker and the edge, and say what to change.

    The broker and the edge are those that the settings and the options name, else those that run on this machine.
    Exit status: 0 nothing is missing, 1 something needs attention.
    """
    from testcast.cli import commands

    return commands.doctor(commands.DoctorRequest(edge, nats, keep_s), Terminal(), as_json=as_json)


@cli.command("demo-game", hidden=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=_PORT, default=8080, show_default=True, help="Port to listen on.")
def demo_game(host: str, port: int) -> int:
    """Serve the demo game."""
    from testcast.local.game_server import serve

    return serve(host, port)


def _server(edge: str | None, nats: str | None) -> Server:
    from testcast.cli.commands import Server

    if edge is not None and nats is not None:
        raise click.UsageError("--edge and --nats: give only one of them")
    return Server(edge, None if edge is not None else config.broker(nats))


def _execute(module: str, settings: dict[str, object], nats: str | None) -> NoReturn:
    """Replaces this process by one that runs `module`, which then receives the signals and sets the exit status."""
    from broker.local.child_process import python_module

    config.broker(nats)  # a wrong address is reported before the process is replaced
    environment = config.for_child(settings | {"TESTCAST_NATS_URL": nats})
    command = python_module(module)
    os.execve(command[0], command, environment)


def main() -> NoReturn:
    """Runs the command, prints its error and exits with its status."""
    logging.getLogger().addHandler(logging.NullHandler())  # the command itself reports what the packages below log
    prepare_streams()
    try:
        status = _status()
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        status = EXIT_SIGNAL + signal.SIGPIPE
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        discard_output()
        Terminal().error(f"the output cannot be written: {error.strerror}")
        status = EXIT_LOST
    sys.exit(status)


def _status() -> int:
    """Runs the command and prints its error. Returns the exit status."""
    try:
        # The name is given: click would derive another one from `python -m …`.
        status = cli.main(as_text(sys.argv[1:]), prog_name=_PROGRAM, standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        Terminal().error(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            Terminal().note(f"{error.ctx.get_usage()}\nRun `{error.ctx.command_path} --help` for details.")
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_SIGNAL + signal.SIGINT
    except TestcastError as error:
        Terminal().error(error.message)
        if isinstance(error, BrokerUnavailable):
            Terminal().note("`testcast up` starts a broker; --nats or TESTCAST_NATS_URL names another one")
        return exit_status(error)
