"""Attacks on a running system, each with the answer it must get. `python -m tests.security --list` prints them."""
