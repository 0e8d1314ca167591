"""The fault kit: real brokers, edges, agents and viewers, a nemesis that kills, stops and cuts them, and a checker.

`python -m tests.faults --seed 7 --rounds 30` prints a table and ends with status 1 on any violation. `cluster` is three
nats-servers, `link` the proxy that stands between the parts, `workload` who publishes and who watches, `nemesis` what
happens to them, `checker` (pure) what is said of it, `kit` puts them together, `scenarios` measures single figures.
"""
