"""`python -m ws_edge`."""

from ws_edge.main import main

main()
