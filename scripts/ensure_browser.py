"""Sees to it that the agent has a browser that starts, and names it; installs only what is missing.

Which browser that is, the agent itself decides (agent_worker/games/browser.py): TESTCAST_AGENT_CHROMIUM, an installed
Chrome or Chromium, Playwright's. Where there is none: Playwright's download first, since it needs no rights; then,
as root on Debian or Ubuntu, the distribution's package, for machines that reach nothing but package registries, or
lack the system libraries that Playwright's build wants.

With --quiet nothing is said when all is well.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from agent_worker import config
from agent_worker.games.browser import Browser, find_chromium
from agent_worker.games.errors import BrowserMissing
from broker.contract.errors import InvalidSetting
from debian import install as install_from_debian
from debian import say

# Only for naming the browser; the first start on a slow disk has taken seconds.
START_TIMEOUT_S = 30
# Playwright waits 30 s for each of five tries by default: a network that swallows packets would cost minutes.
CONNECT_TIMEOUT_MS = 8_000
PLAYWRIGHT = (sys.executable, "-m", "playwright")
# Starting the driver takes most of a second: once in an environment's life is enough.
DRIVER_SEEN = Path(sys.prefix) / ".testcast-driver"


class NoBrowserError(Exception):
    """No browser can be driven, and none could be installed; the message says what to do about it."""


def find(chosen: str | None) -> str | None:
    """Names the browser that the agent will start, or None if there is none.

    Raises:
        NoBrowserError: there is one, and it does not start.
    """
    path = find_chromium(chosen)
    if path is None:
        return "Playwright's Chromium" if asyncio.run(starts()) else None
    # A name on PATH promises nothing: Ubuntu's chromium-browser may be a script that only recommends a snap.
    try:
        version = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=START_TIMEOUT_S, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise NoBrowserError(
            f"{path} is the browser that the agent finds first, and it does not start ({error}).\n"
            "Mend or remove it, or name another one in TESTCAST_AGENT_CHROMIUM."
        ) from error
    return f"{path} ({version})"


async def starts() -> bool:
    """Whether the agent's browser, whichever it is, starts."""
    try:
        async with Browser():
            return True
    except BrowserMissing:
        return False


def install_from_playwright() -> bool:
    """Playwright's own build, into its cache in the home directory. A failure is one line: there is a next way."""
    say("no Chrome or Chromium here: downloading Playwright's")
    environment = {**os.environ, "PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": str(CONNECT_TIMEOUT_MS)}
    result = subprocess.run(
        [*PLAYWRIGHT, "install", "chromium"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode != 0:
        # Five tries print five stack traces; the first line with "Error" is the whole story.
        reason = next((line.strip() for line in result.stdout.splitlines() if "Error" in line), "no reason given")
        say(f"that failed ({reason})")
    return result.returncode == 0


def ensure_driver() -> None:
    """Playwright drives the browser through a Node.js of its own, which a bare Debian cannot start.

    Raises:
        NoBrowserError: it does not start, and could not be helped.
    """
    if DRIVER_SEEN.exists():
        return
    for last_try in (False, True):
        driver = subprocess.run([*PLAYWRIGHT, "--version"], capture_output=True, text=True)
        if driver.returncode == 0:
            DRIVER_SEEN.touch()
            return
        if last_try or not install_from_debian("libatomic1"):
            break
    raise NoBrowserError(
        f"Playwright's driver does not start: {driver.stderr.strip()}\n"
        "On Debian and Ubuntu this helps: sudo apt-get install libatomic1"
    )


def ensure(chosen: str | None) -> str:
    """Names a browser that starts, installed if need be.

    Raises:
        NoBrowserError: there is none, and none could be installed.
    """
    ensure_driver()
    if found := find(chosen):
        return found
    if install_from_playwright() and (found := find(chosen)):
        return found
    if install_from_debian("chromium") and (found := find(chosen)):
        return found
    raise NoBrowserError(
        "the agent needs a browser, and none could be installed. Any one of these helps:\n"
        "  install Chrome or Chromium (Debian and Ubuntu: sudo apt-get install chromium)\n"
        "  sudo .venv/bin/playwright install-deps chromium, if Playwright's is here and lacks libraries\n"
        "  TESTCAST_AGENT_CHROMIUM=/path/to/chrome, if there is one that was not found"
    )


def main() -> int:
    try:
        browser = ensure(config.load().chromium)
    except (NoBrowserError, InvalidSetting) as error:
        say(str(error))
        return 1
    if "--quiet" not in sys.argv[1:]:
        say(f"the agent's browser is {browser}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
