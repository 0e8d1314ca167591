"""`testcast submit --seeds N`: the same game with several seeds, followed together and judged by their median."""

from __future__ import annotations

import asyncio
import secrets

import orjson

from broker.contract.errors import BadInput, TestcastError
from testcast import config
from testcast.cli import ci, ci_report, commands, seeds_report
from testcast.cli.ci import Wishes
from testcast.cli.ci_report import Facts
from testcast.cli.commands import SubmitRequest, source_of
from testcast.cli.follow import Follow
from testcast.cli.new_file import check_new
from testcast.cli.seeds_report import LABEL, Series
from testcast.cli.server import Server, page_of
from testcast.cli.terminal import Terminal


async def submit(
    request: SubmitRequest, count: int, wishes: Wishes, server: Server, terminal: Terminal, *, as_json: bool
) -> int:
    """Submits the game with the seeds 1 to `count`, waits for all and writes the reports. Returns the exit status.

    Raises:
        BadInput: a report cannot be written, or a seed was given too; nothing was submitted.
        TestcastError: a run was not submitted. Those that were go on.
    """
    if request.seed is not None:
        raise BadInput("--seed and --seeds: give only one of them")
    if wishes.junit is not None:
        check_new(wishes.junit, force=True)
    github = config.github_files() if wishes.github else None
    labels = {LABEL: f"{count}-{secrets.token_hex(3)}", **request.labels}
    request = request._replace(labels=labels)
    series = Series([await _submitted(request, seed, server, terminal) for seed in range(1, count + 1)])
    try:
        async with asyncio.timeout(wishes.timeout_s):
            async with asyncio.TaskGroup() as following:
                for seed, facts in enumerate(series.runs, 1):
                    following.create_task(_follow(seed, facts, server, terminal))
    except TimeoutError:
        for facts in series.runs:
            if not facts.run.ended:
                facts.timed_out_s = wishes.timeout_s
                await ci.cancel_unwanted(facts.test_id, server, terminal)
    judgement = seeds_report.judge(series, wishes.min_score)
    if as_json:
        terminal.raw(orjson.dumps(seeds_report.as_json(series, judgement)))
    else:
        terminal.say(judgement.headline, style="bold")
        for line in seeds_report.lines(series):
            terminal.say(line)
    ci.write(seeds_report, series, judgement, wishes, github, terminal, as_json=as_json)
    if judgement.status:
        terminal.error(judgement.headline)
    return judgement.status


async def _submitted(request: SubmitRequest, seed: int, server: Server, terminal: Terminal) -> Facts:
    facts = Facts(request.title or request.game_url, request.game_url)
    facts.test_id = await commands.submitted_here(request._replace(seed=seed), server, terminal)
    facts.page = await page_of(facts.test_id, server)
    terminal.note(f"seed {seed}: test {facts.test_id}")
    return facts


async def _follow(seed: int, facts: Facts, server: Server, terminal: Terminal) -> None:
    """Takes the events of one run until it ends, and says so."""
    follow = Follow(terminal, facts.test_id, options=server.options)
    request = commands.TailRequest(facts.test_id, None, (), None)
    try:
        async with source_of(facts.test_id, request, server, follow) as source:
            async for item in source:
                facts.note(item)
    except TestcastError as error:
        facts.unheard = error.message
    terminal.note(f"seed {seed}: {ci_report.judge(facts, None).headline}")
