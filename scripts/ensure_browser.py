"""Makes sure that the agent has a browser that starts, and prints which one. It installs only what is missing.

The agent's own code chooses the browser (agent_worker/games/chromium/program.py): TESTCAST_AGENT_CHROMIUM, else one
without windows, else an installed Chrome or Chromium, else Playwright's. When there is none, Playwright's is
downloaded, which needs no privileges, and has one without windows beside it. When that fails, root on Debian or Ubuntu
installs the distribution's packages: some machines reach only package registries, or lack the system libraries that
Playwright's build needs. With --quiet it prints nothing when there is a browser.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from playwright.async_api import async_playwright

from agent_worker import config
from agent_worker.games.chromium.browser import Browser, find_chromium, find_shell
from agent_worker.games.errors import BrowserMissing
from broker.contract.errors import InvalidSetting
from debian import install as install_from_debian
from debian import say

# For `chrome --version`. The first start on a slow disk takes seconds.
START_TIMEOUT_S = 30
# Playwright by default waits 30 s in each of five tries: minutes on a network that drops packets.
CONNECT_TIMEOUT_MS = 8_000
PLAYWRIGHT = (sys.executable, "-m", "playwright")
# Starting the driver takes most of a second, so it is tried once per environment.
DRIVER_SEEN = Path(sys.prefix) / ".testcast-driver"
# Where Debian's packages of Chromium are. Ubuntu's package of this name is a snap, and none has no windows.
DEBIAN_CHROMIUM = Path("/usr/lib/chromium")


class NoBrowserError(Exception):
    """There is no browser that can be used, and none could be installed. The message says what to do."""


def find(chosen: str | None) -> str | None:
    """Returns a description of the browser that the agent starts, or None when there is none.

    Raises:
        NoBrowserError: there is one that does not start.
    """
    if find_chromium(chosen) is None:
        if not asyncio.run(starts()):
            return None
        shell = find_shell(chosen)
        return f"Playwright's Chromium, and {shell} for games" if shell else "Playwright's Chromium"
    # Reproducing a finding with a window, and the dashboard's tests, take the first of these; a run the last.
    return [_described(path) for path in dict.fromkeys((find_chromium(chosen), find_shell(chosen))) if path][-1]


def _described(path: str) -> str:
    # A program on PATH may not be a browser: Ubuntu's chromium-browser may be a script that recommends a snap.
    try:
        version = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=START_TIMEOUT_S, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise NoBrowserError(
            f"{path} is the browser that the agent finds first, and it does not start ({error}).\n"
            "Repair or remove it, or set TESTCAST_AGENT_CHROMIUM to another one."
        ) from error
    return f"{path} ({version})"


async def starts() -> bool:
    """Whether Playwright's Chromium is there, and the agent's browser starts."""
    async with async_playwright() as driver:
        if not os.access(driver.chromium.executable_path, os.X_OK):
            return False
    try:
        async with Browser():
            return True
    except BrowserMissing:
        return False


def install_from_playwright() -> bool:
    """Installs Playwright's build into its cache in the home directory. A failure prints one line."""
    say("no Chrome or Chromium found; downloading Playwright's")
    environment = {**os.environ, "PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": str(CONNECT_TIMEOUT_MS)}
    result = subprocess.run(
        [*PLAYWRIGHT, "install", "chromium"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode != 0:
        # Five tries print five stack traces; the first line with "Error" tells the reason.
        reason = next((line.strip() for line in result.stdout.splitlines() if "Error" in line), "no reason given")
        say(f"the download failed ({reason})")
    return result.returncode == 0


def ensure_driver() -> None:
    """Makes sure that Playwright's driver starts: a Node.js of its own, which lacks a library on a minimal Debian.

    Raises:
        NoBrowserError: it does not start, and the library could not be installed.
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
        "On Debian and Ubuntu: sudo apt-get install libatomic1"
    )


def ensure(chosen: str | None) -> str:
    """Returns a description of a browser that starts, which is installed when there is none.

    Raises:
        NoBrowserError: there is none, and none could be installed.
    """
    ensure_driver()
    if found := find(chosen):
        return found
    if install_from_playwright() and (found := find(chosen)):
        return found
    if install_from_debian("chromium"):
        if DEBIAN_CHROMIUM.is_dir():
            install_from_debian("chromium-headless-shell")
        if found := find(chosen):
            return found
    raise NoBrowserError(
        "the agent needs a browser, and none could be installed. Do one of these:\n"
        "  install Chrome or Chromium (Debian and Ubuntu: sudo apt-get install chromium)\n"
        "  if Playwright's is installed and lacks libraries: sudo .venv/bin/playwright install-deps chromium\n"
        "  if there is a browser that was not found: set TESTCAST_AGENT_CHROMIUM=/path/to/chrome"
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
