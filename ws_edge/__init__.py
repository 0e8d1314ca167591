"""The edge: stateless nodes that fan a run's events out to its viewers.

Imports `broker` and nothing else of ours. The way of an event through it: `topic` (one per test with viewers) takes it
from the broker, `pacing` may hold progress back for a while, the topic writes it to every live session's socket without
awaiting anything; who is behind catches up through `replay`. `hub` keeps the topics; `socket` is a viewer's connection;
`catalogue` is the list of all runs; `projector` and `reaper` keep the snapshots true; `rpc` and `app` are the HTTP.
"""
