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
from typing import Final, NoReturn

import click
from click.shell_completion import get_completion_class

from broker import extras
from broker.contract.errors import BrokerUnavailable, LoginRefused, NotThere, TestcastError
from broker.contract.roles import Role
from testcast import config
from testcast.cli.finding_commands import reproduce
from testcast.cli.options import (
    PORT,
    budget_option,
    edge_option,
    json_option,
    listen_host_option,
    nats_option,
    seed_option,
    server,
    token_file_option,
)
from testcast.cli.recording_commands import run
from testcast.cli.run_commands import COMMANDS
from testcast.cli.streams import as_text, discard_output, prepare_streams
from testcast.cli.terminal import Terminal
from testcast.cli.token_commands import token
from testcast.exit_codes import EXIT_COMPLETED, EXIT_LOST, EXIT_SIGNAL, EXIT_USAGE, exit_status

_PROGRAM: Final = "testcast"
_ROLES: Final = tuple(role.value for role in Role)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing the output to a file, as opposed to those of a connection."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="testcast", prog_name=_PROGRAM)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Watch an automated tester play your web game, live.

    \b
    testcast demo                                      everything on this machine, with a small game
    testcast submit https://my-game.example --follow   test a game and show the run
    testcast tail last                                 show the newest run until it ends
    testcast list --since 2h                           what has run
    testcast run -- npm test                           show any command's output as a run
    testcast token init                                keys and a token, to protect an installation

    \b
    RUN is a test id, the beginning of one, `last`, or the address of a run's page.

    \b
    Exit status: 0 done, or run completed; 1 run failed or cancelled, or refused; 2 wrong usage, or no such run;
    3 no connection, or connection lost; 4 no verdict (`submit` with the options for CI); 130 stopped by Ctrl-C.
    """
    if ctx.invoked_subcommand not in ("edge", "agent"):  # which say it in their logs
        for each in config.unknown_settings():
            Terminal().note(f"warning: {each}", style="yellow")


for _command in (*COMMANDS, reproduce, run, token):
    cli.add_command(_command)


@cli.command()
@click.option("--once", is_flag=True, help="Stop when the run ends; its verdict is the exit status.")
@click.option("--game", metavar="URL", help="Test this game instead of the bundled one.")
@listen_host_option
@click.option("--port", type=PORT, help="Port of the dashboard (default: TESTCAST_EDGE_PORT, or 8000).")
@seed_option
@budget_option
def demo(
    once: bool, game: str | None, host: str | None, port: int | None, seed: int | None, budget: float | None
) -> int:
    """Run everything on this machine and test a small game.

    Starts a broker, an edge, an agent and the game, prints the address of the dashboard and shows the run.
    Ctrl-C stops everything. A second one kills all processes at once.
    """
    extras.require("agent,broker", "testcast demo")
    from testcast.cli import demo as command
    from testcast.cli.targets import complete_game_url

    game_url = None if game is None else complete_game_url(game)
    host, port = config.edge_address(host, port)
    request = command.DemoRequest(once, game_url, port, seed, budget, host)
    return asyncio.run(command.demo(request, config.broker(), Terminal()))


@cli.command()
@click.option(
    "--edges", type=click.IntRange(1, 32), default=1, show_default=True, help="Number of edges, on consecutive ports."
)
@click.option("--agents", type=click.IntRange(0, 32), default=1, show_default=True, help="Number of agents.")
@listen_host_option
@click.option("--port", type=PORT, help="Port of the first edge (default: TESTCAST_EDGE_PORT, or 8000).")
@click.option("--secure", is_flag=True, help="The broker has a user per role, with keys, and TLS.")
@nats_option
def up(edges: int, agents: int, host: str | None, port: int | None, secure: bool, nats: str | None) -> int:
    """Run a broker, edges and agents on this machine until Ctrl-C.

    With --nats or TESTCAST_NATS_URL they use that broker, and no other is started.

    \b
    Two commands set up a protected installation:
    testcast token init
    testcast up --secure --host 0.0.0.0
    """
    needed = ("agent,broker", "testcast up (--agents 0 starts no agent)") if agents else ("broker", "testcast up")
    extras.require(*needed)
    from testcast.cli import demo as command

    settings = config.broker(nats)
    nats_url = settings.nats_url if nats is not None or config.names_a_broker() else None
    host, port = config.edge_address(host, port)
    if secure and nats_url is not None:
        raise click.UsageError("--secure is for the broker that is started here, and another is named")
    request = command.UpRequest(edges, agents, port, nats_url, host, secure)
    return asyncio.run(command.up(request, settings, Terminal()))


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=4222, show_default=True, help="Port to listen on.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the data (default: one in TESTCAST_STATE_DIR).",
)
@click.option("--secure", is_flag=True, help="A user per role, with keys, and TLS. All of it is made here.")
@click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --secure: directory of keys and certificates (default: one in TESTCAST_STATE_DIR).",
)
@click.option("--name", "names", multiple=True, help="With --secure: a name or address at which clients reach it.")
@click.option(
    "--route",
    "routes",
    multiple=True,
    metavar="HOST",
    help="With --init-only: a name at which one server of a cluster reaches another, port 6222; each server's.",
)
@click.option("--init-only", is_flag=True, help="With --secure: make the keys, and start nothing.")
@click.option(
    "--print", "role", type=click.Choice(_ROLES), help="With --secure: print the settings of a part, and start nothing."
)
def broker(
    host: str,
    port: int,
    data: Path | None,
    secure: bool,
    keys: Path | None,
    names: tuple[str, ...],
    routes: tuple[str, ...],
    init_only: bool,
    role: str | None,
) -> int:
    """Run a NATS server with JetStream and the streams of testcast until Ctrl-C.

    \b
    testcast broker --secure --host 0.0.0.0 --name nats.example     with users and TLS
    testcast broker --secure --print agent                          what an agent needs to log in

    With --route the files are for a cluster: all servers have the same, and settings name every --name.
    """
    extras.require("broker", "testcast broker")
    from testcast.cli import demo as command

    if not secure and (keys is not None or names or routes or init_only or role is not None):
        raise click.UsageError("--keys, --name, --route, --init-only and --print belong to --secure")
    if routes and not (names and (init_only or role is not None)):
        raise click.UsageError("--route belongs to --init-only or --print, with a --name of each server of the cluster")
    request = command.BrokerRequest(host, port, data, secure, keys, names, routes)
    settings = config.broker()
    if init_only or role is not None:
        return command.prepare_broker(request, settings, Terminal(), role)
    return asyncio.run(command.broker(request, settings, Terminal()))


@cli.command()
@listen_host_option
@click.option("--port", type=PORT, help="Port to listen on (default: TESTCAST_EDGE_PORT, or 8000).")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes on that port (default: TESTCAST_EDGE_WORKERS, or 1)."
)
@nats_option
def edge(host: str | None, port: int | None, workers: int | None, nats: str | None) -> NoReturn:
    """Run one edge: the dashboard, the RPC and the WebSockets."""
    extras.require("edge", "testcast edge")
    settings: dict[str, object] = {
        "TESTCAST_EDGE_HOST": host,
        "TESTCAST_EDGE_PORT": port,
        "TESTCAST_EDGE_WORKERS": workers,
    }
    _execute("ws_edge", settings, nats)


@cli.command()
@click.option("--concurrency", type=int, help="Games at the same time (default: TESTCAST_AGENT_CONCURRENCY, or 2).")
@nats_option
def agent(concurrency: int | None, nats: str | None) -> NoReturn:
    """Run one agent, which takes jobs from the queue and plays the games."""
    extras.require("agent", "testcast agent")
    _execute("agent_worker", {"TESTCAST_AGENT_CONCURRENCY": concurrency}, nats)


@cli.command()
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.2, 60),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Print one table and end; so it is without a terminal, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and end.")
def top(urls: tuple[str, ...], every_s: float, once: bool, as_json: bool) -> int:
    """Show edges, agents, runs, rates and lag, live, from their metrics.

    URL is where metrics are served (default: http://127.0.0.1:9464/metrics, where `up` and `demo` serve theirs).
    Edges and agents serve metrics on the port in TESTCAST_METRICS_PORT. Several URLs are shown together.

    
    Keys: q quit, p pause, s sort, ? help
    """
    if "prometheus_client" in extras.missing("top"):
        extras.require("top", "testcast top")
    from testcast.cli.top import command

    urls = urls or (f"127.0.0.1:{config.METRICS_PORT}",)
    return asyncio.run(command.top(command.TopRequest(urls, every_s, once, as_json), Terminal()))


@cli.command()
@click.option("--edge", metavar="URL", help="Check the edge at this address, as viewers have it.")
@token_file_option
@click.option(
    "--long",
    "keep_s",
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    default=0.0,
    help="Keep an idle socket this long, which shows the idle timeout of a proxy.",
)
@nats_option
@json_option
def doctor(edge: str | None, keep_s: float, nats: str | None, as_json: bool) -> int:
    """Check this machine, the broker and the edge, and say what to change.

    The broker and the edge are those that the settings and the options name, else those that run on this machine.
    Exit status: 0 nothing is missing, 1 something needs attention.
    """
    from testcast.cli import commands

    return commands.doctor(commands.DoctorRequest(edge, nats, keep_s), Terminal(), as_json=as_json)


@cli.command()
@edge_option
@nats_option
def mcp(edge: str | None, nats: str | None) -> int:
    """Serve coding agents over standard input and output: the Model Context Protocol.

    Its tools submit games, follow runs, list, show (with pictures) and cancel them. A coding agent starts this command
    itself: docs/mcp.md has the configuration.
    """
    extras.require("mcp", "testcast mcp")
    from testcast.mcp_server.server import serve

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a thread waits for input, which nothing wakes
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return asyncio.run(serve(server(edge, nats)))


@cli.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> int:
    """Print the script that completes commands and options in a shell.

    \b
    bash   testcast completion bash > ~/.local/share/bash-completion/completions/testcast
    zsh    testcast completion zsh > ~/.zfunc/_testcast     (with ~/.zfunc in fpath)
    fish   testcast completion fish > ~/.config/fish/completions/testcast.fish
    """
    known = get_completion_class(shell)
    assert known is not None
    Terminal().say(known(cli, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE").source())
    return EXIT_COMPLETED


@cli.command("demo-game", hidden=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port to listen on.")
def demo_game(host: str, port: int) -> int:
    """Serve the demo game."""
    from testcast.local.game_server import serve

    return serve(host, port)


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
        if isinstance(error, NotThere) and error.certain:
            Terminal().error("the broker holds no runs yet: start an edge or an agent that uses it")
            return exit_status(error)
        Terminal().error(error.message)
        if isinstance(error, BrokerUnavailable) and not isinstance(error, LoginRefused):
            Terminal().note("`testcast up` starts a broker; --nats or TESTCAST_NATS_URL names another one")
        return exit_status(error)
