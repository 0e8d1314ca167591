"""The command `testcast`: what a person types, read and handed on. Each command's work is in a module of its own,
imported when it is wanted, so that `testcast --help` answers at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from broker.contract.errors import BrokerUnavailable, TestcastError
from testcast import config
from testcast.cli.terminal import Terminal, give_up_stdout
from testcast.client.errors import EXIT_SIGNAL, EXIT_USAGE, exit_status

_TYPES: Final = ("status", "progress", "complete", "error")
_STATUSES: Final = ("queued", "running", "completed", "failed")
_PORT: Final = click.IntRange(1, 65535)

_nats = click.option(
    "--nats", metavar="URL", help="The broker's address (default: TESTCAST_NATS_URL, or 127.0.0.1:4222)."
)
_edge = click.option("--edge", metavar="URL", help="Ask the edge at this address, instead of the broker.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_title = click.option("--title", help="What viewers see (default: the game's address).")
_budget = click.option(
    "--budget", type=float, metavar="SECONDS", help="How long the agent may play, 5 to 600 (default: 60)."
)
_seed = click.option("--seed", type=int, help="What the agent's choices follow from (default: drawn).")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="testcast", prog_name="testcast")
def cli() -> None:
    """Watch an automated tester play your web game, live.

    \b
    testcast demo                            everything on this machine, with a game to look at
    testcast submit https://my-game.example --follow
    testcast tail 4f9c2d3e-…                 ends with the run: 0 completed, 1 failed

    \b
    Exit status: 0 completed, 1 failed, 2 wrong usage, 3 connection lost for good.
    """


@cli.command()
@click.option("--once", is_flag=True, help="End with the run, with its verdict as exit status.")
@click.option("--game", metavar="URL", help="A game to test instead of the bundled one.")
@click.option("--port", type=_PORT, default=8000, show_default=True, help="The page's port.")
@_seed
@_budget
def demo(once: bool, game: str | None, port: int, seed: int | None, budget: float | None) -> int:
    """Everything on this machine, testing a small game.

    Starts a broker, an edge, an agent and the game, prints the page's address and follows the run here. Ctrl-C stops
    all of it; twice, at once.
    """
    from testcast.cli.targets import complete_game_url
    from testcast.local.demo import Demo
    from testcast.local.demo import demo as show

    game_url = None if game is None else complete_game_url(game)
    return asyncio.run(show(Demo(once, game_url, port, seed, budget), config.broker(), Terminal()))


@cli.command()
@click.option("--edges", type=click.IntRange(1, 32), default=1, show_default=True, help="On consecutive ports.")
@click.option("--agents", type=click.IntRange(0, 32), default=1, show_default=True)
@click.option("--port", type=_PORT, default=8000, show_default=True, help="The first edge's.")
@_nats
def up(edges: int, agents: int, port: int, nats: str | None) -> int:
    """A broker, edges and agents on this machine, until Ctrl-C.

    The broker is one of our own, unless --nats or TESTCAST_NATS_URL names one.
    """
    from testcast.local.demo import Up
    from testcast.local.demo import up as bring_up

    settings = config.broker(nats)
    nats_url = settings.nats_url if nats is not None or config.names_a_broker() else None
    return asyncio.run(bring_up(Up(edges, agents, port, nats_url), settings, Terminal()))


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=_PORT, default=4222, show_default=True)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to keep it (default: in TESTCAST_STATE_DIR).",
)
def broker(host: str, port: int, data: Path | None) -> int:
    """A NATS server with JetStream, ready for use, until Ctrl-C."""
    from testcast.local.demo import broker as serve

    return asyncio.run(serve(host, port, data, config.broker(), Terminal()))


@cli.command()
@click.option("--host", help="Where to listen (default: TESTCAST_EDGE_HOST, or 127.0.0.1).")
@click.option("--port", type=_PORT, help="Where to listen (default: TESTCAST_EDGE_PORT, or 8000).")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes behind that port (default: 1).")
@_nats
def edge(host: str | None, port: int | None, workers: int | None, nats: str | None) -> NoReturn:
    """One edge: the page, the RPC and the sockets. Becomes that process."""
    settings: dict[str, object] = {
        "TESTCAST_EDGE_HOST": host,
        "TESTCAST_EDGE_PORT": port,
        "TESTCAST_EDGE_WORKERS": workers,
    }
    _become("ws_edge", settings | {"TESTCAST_NATS_URL": nats})


@cli.command()
@click.option("--concurrency", type=int, help="Games at the same time (default: TESTCAST_AGENT_CONCURRENCY, or 2).")
@_nats
def agent(concurrency: int | None, nats: str | None) -> NoReturn:
    """One agent: takes jobs and plays games. Becomes that process."""
    _become("agent_worker", {"TESTCAST_AGENT_CONCURRENCY": concurrency, "TESTCAST_NATS_URL": nats})


@cli.command()
@click.argument("url")
@_title
@_budget
@_seed
@click.option("--follow", is_flag=True, help="Show the run and end with it, with its verdict as exit status.")
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
    """Have the game at URL tested. Prints the test id."""
    from testcast.cli import commands
    from testcast.cli.targets import complete_game_url

    asked = commands.Submission(complete_game_url(url), title, budget, seed)
    return asyncio.run(commands.submit(asked, _place(edge, nats), Terminal(), follow=follow, as_json=as_json))


@cli.command("list")
@click.option("--watch", is_flag=True, help="Go on showing it as it changes.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only runs with this status.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="The newest so many.")
@_edge
@_nats
@_json
def list_(watch: bool, status: str | None, limit: int, edge: str | None, nats: str | None, as_json: bool) -> int:
    """The newest runs."""
    from testcast.cli import commands

    asked = commands.Listing(status, limit, watch)
    return asyncio.run(commands.list_runs(asked, _place(edge, nats), Terminal(), as_json=as_json))


@cli.command()
@click.argument("target", required=False, metavar="[ID | all | DASHBOARD-URL]")
@click.option("--after", type=click.IntRange(0), metavar="SEQ", help="Go on after this position.")
@click.option(
    "--type", "types", type=click.Choice(_TYPES), multiple=True, help="Only such events; more than once: any of them."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="How long the broker may be away (default: 60; an edge: 10 attempts).",
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
    """Follow a run to its end, or all runs from now on.

    Resumes by position whenever the connection comes back, says so when events are gone, and ends with the run's
    verdict: 0 completed, 1 failed, 3 when the connection was lost for good.
    """
    from testcast.cli import commands
    from testcast.cli.targets import parse_target

    followed = parse_target(target, edge)
    if followed.edge is not None and followed.test_id is None and after is not None:
        raise click.UsageError("--after: through an edge it needs a test id")
    asked = commands.Following(followed.test_id, after, types, timeout)
    return asyncio.run(commands.tail(asked, _place(followed.edge, nats), Terminal(), as_json=as_json))


@cli.command()
def doctor() -> int:
    """What is missing on this machine, and how to get it."""
    from testcast.cli import commands

    return commands.doctor(Terminal())


@cli.command("demo-game", hidden=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=_PORT, default=8080, show_default=True)
def demo_game(host: str, port: int) -> int:
    """Serve the demo game."""
    from testcast.local.game_server import serve

    return serve(host, port)


def _place(edge: str | None, nats: str | None) -> Any:
    from testcast.cli.commands import Place

    if edge is not None and nats is not None:
        raise click.UsageError("--edge and --nats: the broker or an edge, not both")
    return Place(edge, None if edge is not None else config.broker(nats))


def _become(module: str, settings: dict[str, object]) -> NoReturn:
    """The process is the part itself: signals and exit status are its own, and nothing of ours stands between."""
    config.broker(None if settings["TESTCAST_NATS_URL"] is None else str(settings["TESTCAST_NATS_URL"]))
    environment = config.for_child(settings)
    os.execve(sys.executable, [sys.executable, "-m", module], environment)


def main() -> NoReturn:
    """The command's entry: runs it, and turns whatever happens into a sentence and an exit status."""
    logging.getLogger().addHandler(logging.NullHandler())  # what the parts below log is told by the command itself
    try:
        status = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = EXIT_USAGE
    except click.ClickException as error:
        Terminal().error(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            Terminal().note(f"{error.ctx.get_usage()}\n`{error.ctx.command_path} --help` says more")
        status = EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        status = EXIT_SIGNAL + signal.SIGINT
    except BrokenPipeError:
        give_up_stdout()
        status = EXIT_SIGNAL + signal.SIGPIPE
    except TestcastError as error:
        Terminal().error(error.message)
        if isinstance(error, BrokerUnavailable):
            Terminal().note("`testcast up` starts one here; --nats or TESTCAST_NATS_URL names another")
        status = exit_status(error)
    sys.exit(status if isinstance(status, int) else 0)
