"""Rolls a running installation from the previous version to today's and back, and looks for what was lost.

    python -m tests.upgrades --brokers 3 --sockets 50

Under load, with viewers of both versions; `rolling.py` has the steps. The short form of it is a test
(`tests/integration/test_upgrades.py`).
"""
