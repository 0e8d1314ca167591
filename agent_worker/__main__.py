"""`python -m agent_worker`."""

import sys

# `python -m` puts the current directory first, where a file would hide the module of its name.
if not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

from agent_worker.main import main

raise SystemExit(main())
