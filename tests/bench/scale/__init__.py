"""A simulation of a large installation. Its parameters are the measured figures in BENCHMARKS.md, the settings of the
code, and what `measured.ASSUMED` lists.

* `measured`: reads the figures, with where each stands.
* `fanout`: an edge as a queue that serves all waiting events in one turn.
* `storm`: viewers that lost their edges, their backoff, the limit of handshakes, the edges' processors.
* `traffic`: which edges hear which run, and what the broker carries.
* `checks`: what it says of sizes that were measured. `tables`: docs/scale.md; `python -m tests.bench simulate`.
"""
