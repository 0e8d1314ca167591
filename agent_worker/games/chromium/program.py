"""Which Chromium is started, and how. Knows no Playwright."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from agent_worker.games.chromium.confinement import may_change_user, open_to_others
from agent_worker.games.errors import BrowserMissing

WINDOW: Final = {"width": 500, "height": 100}
"""Of a page in owned time, whose real pictures nobody looks at: Chromium draws what the window shows, sixty times a
second, which took more than a quarter of the processor time. Layout, input and screenshots follow the viewport. A
window that is smaller still is taken for a hidden one; one whose viewport was resized is as large as that."""
_OFF: Final = (
    # Each window renders two pages of the address bar's suggestions, which nobody sees: a second of processor time.
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    # What Playwright switches off: the last flag of this name counts, and this one comes after its own.
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *(
        "HttpsFirstBalancedModeAutoEnable",
        "LensOverlay",
        "MediaRouter",
        "PaintHolding",
        "ThirdPartyStoragePartitioning",
    ),
    *("AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled"),
    "PreconnectToSearch",
    # Each page has a context of its own: a process that is kept ready for the last one's is never used.
    "SpareRendererForSitePerProcess",
    # After each input a page's tasks wait for its next picture, up to 17 ms: owned time is made of such tasks.
    "DeferRendererTasksAfterInput",
)
LIGHT: Final = f"--disable-features={','.join(_OFF)}"
"""The flag for a Chromium that renders pages and nothing else."""
FLAGS: Final = (
    LIGHT,
    "--disable-quic",  # QUIC does not go through a proxy
    # Neither does WebRTC, and it has nothing else then. Browsers with windows know the first name, others the second.
    *(f"--{name}webrtc-ip-handling-policy=disable_non_proxied_udp" for name in ("", "force-")),
    # What avoids the proxy reaches nothing. An address: `~NOTFOUND` is asked of the network, by multicast, for x.local.
    "--host-resolver-rules=MAP * 255.255.255.255, EXCLUDE 127.0.0.1",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--mute-audio",
    "--no-first-run",
    "--deny-permission-prompts",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disk-cache-size=67108864",  # bytes
)
SCREENCAST: Final = {"format": "jpeg", "quality": 70, "maxWidth": 640, "maxHeight": 360, "everyNthFrame": 3}
"""At most 20 pictures a second, and none while nothing moves; scaled by the compositor, which is the cheapest place."""
_MIN_SHARED_BYTES: Final = 1 << 29
"""With less room in /dev/shm, pages share memory through files on the disk, where it does not count as memory."""
_CANDIDATES: Final = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser")
_WITHOUT_WINDOW: Final = ("/usr/lib/chromium/chromium-headless-shell", "chrome-headless-shell")
"""Debian's by its whole path: what is on PATH there is a script that stays as the browser's parent."""
_PLAYWRIGHT_SHELLS: Final = ("*/chrome-headless-shell", "*/headless_shell")


def find_shell(given: str | None = None, playwright: Path | None = None) -> str | None:
    """The browser for games that nobody watches: `given`, else a Chromium that was built without windows, which opens
    a page in half the processor time, else what `find_chromium` finds. Playwright's counts where there is no other.

    Args:
        given: the program that was asked for.
        playwright: Playwright's Chromium, beside which it keeps the one without windows.

    Raises:
        BrowserMissing: `given` is not a file that can be run.
    """
    if given:
        return find_chromium(given)
    shells = [found for name in _WITHOUT_WINDOW if (found := shutil.which(name))]
    usable = (each for each in shells if not may_change_user() or open_to_others(Path(each)))
    return next(usable, None) or find_chromium() or (_beside(playwright) if playwright else None)


def _beside(chromium: Path) -> str | None:
    """Of `…/chromium-1200/chrome-linux64/chrome` the file in `…/chromium_headless_shell-1200/`, if there is one."""
    folder = chromium.parents[1]
    shells = folder.with_name(folder.name.replace("chromium-", "chromium_headless_shell-", 1))
    found = (each for pattern in _PLAYWRIGHT_SHELLS for each in sorted(shells.glob(pattern)))
    return next((str(each) for each in found if os.access(each, os.X_OK)), None)


def find_chromium(given: str | None = None) -> str | None:
    """The browser to start: `given`, else an installed Chrome or Chromium, else None for Playwright's own.

    Raises:
        BrowserMissing: `given` is not a file that can be run.
    """
    if given:
        if not os.access(given, os.X_OK):
            raise BrowserMissing(f"TESTCAST_AGENT_CHROMIUM is {given!r}, which is not a program.")
        return given
    return next((found for name in _CANDIDATES if (found := shutil.which(name))), None)


def arguments() -> list[str]:
    """The command line of a browser for games."""
    return list(FLAGS)


def unwanted() -> list[str]:
    """Those of the driver's own arguments that are left out."""
    try:
        roomy = shutil.disk_usage("/dev/shm").free >= _MIN_SHARED_BYTES
    except OSError:
        roomy = False
    return ["--disable-dev-shm-usage"] if roomy else []
