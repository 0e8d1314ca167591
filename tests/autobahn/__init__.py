"""Runs the Autobahn Testsuite against the edge's socket class: `python -m tests.autobahn`."""
