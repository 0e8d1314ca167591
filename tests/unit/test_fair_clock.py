"""The tests' own clock leaves out what the machine takes away, and nothing else."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from tests.fair_clock import fair_time
from tests.harness import until

PROGRAM = """
import sys, time
from tests.fair_clock import fair_time
fair, real = fair_time(), time.monotonic()
print("ready", flush=True)
sys.stdin.readline()
print(fair_time() - fair, time.monotonic() - real, flush=True)
"""


async def test_a_halt_is_left_out() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin and child.stdout
    assert await child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGSTOP)
    stopped_at = time.monotonic()
    await until(lambda: time.monotonic() - stopped_at > 1)
    child.send_signal(signal.SIGCONT)
    child.stdin.write(b"\n")
    fair, real = map(float, (await child.stdout.readline()).split())
    await child.wait()
    assert real > 1 and fair < real - 0.9


async def test_a_wait_is_not() -> None:
    began, real = fair_time(), time.monotonic()
    await until(lambda: fair_time() - began > 0.3)
    assert time.monotonic() - real > 0.3
