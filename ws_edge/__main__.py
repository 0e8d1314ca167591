"""`python -m ws_edge`."""

import sys

# `python -m` puts the current directory first, where a file would hide the module of its name.
if not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

from broker.extras import MissingExtra, require

try:
    require("edge", "an edge")
except MissingExtra as error:
    print(f"testcast edge: {error}", file=sys.stderr)  # noqa: T201  # a person reads it
    raise SystemExit(2) from None

from ws_edge.main import main

main()
