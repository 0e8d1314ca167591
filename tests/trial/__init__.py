"""The trial of the agent that plays games: games of other people, as they are and with a bug put in.

`python -m tests.trial --help` says what it can do; AGENT.md says what it has shown. No game is kept in this repository:
`games/*.toml` names packages, versions and integrity, and `packages.py` brings them in.
"""
