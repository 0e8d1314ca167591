"""Which Chromium is started, and how. Knows no Playwright."""

from __future__ import annotations

import os
import shutil
from typing import Final

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
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",  # neither does WebRTC, and it has nothing else then
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
