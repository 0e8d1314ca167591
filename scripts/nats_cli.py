"""Runs a command with NATS' own tool on its PATH: the one that is there, else one made from the Go module proxy.

    python scripts/nats_cli.py COMMAND ARGUMENT…

Making it takes two minutes of one processor, once: it is kept in the user's cache.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from debian import say

MODULE = "github.com/nats-io/natscli/nats"
VERSION = "v0.5.1"


def main(command: list[str]) -> int:
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "testcast" / f"nats-{VERSION}"
    if shutil.which("nats") is None and not (kept / "nats").is_file():
        if shutil.which("go") is None:
            say("NATS' own tool is not on PATH, and there is no Go to make it with")
            return 1
        say(f"making NATS' own tool {VERSION}; about two minutes the first time")
        kept.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "GOBIN": str(kept), "GOFLAGS": "-p=1"}  # the other processor is somebody else's
        made = subprocess.run(["go", "install", f"{MODULE}@{VERSION}"], env=environment)
        if made.returncode:
            return made.returncode
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}{os.pathsep}{kept}"}
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
