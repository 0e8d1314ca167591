"""`python -m ws_edge`."""

import sys

# `python -m` puts the current directory first, where a file would hide the module of its name.
if not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

from ws_edge.main import main

main()
