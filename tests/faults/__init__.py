"""The fault kit: real brokers, edges, agents and viewers, a nemesis that injects faults, and a checker.

`python -m tests.faults --seed 7 --rounds 30` prints a table and ends with status 1 on any violation.

* `cluster`: three nats-servers; `link`: the TCP proxy between the parts, which can fail.
* `publisher`: one publisher process; `workload`: the publishers and viewers of a test; `viewers`: the kinds of viewers.
* `world`: everything that can fail, running together; `nemesis`: the faults and their schedule.
* `damage`: what the broker holds is deleted, forged or has no room; `clock`: clocks of single processes that jump.
* `checker`: pure; compares what was published, stored and seen.
* `kit`: a whole test; `scenarios`: measures the recovery from one kind of fault.
"""
