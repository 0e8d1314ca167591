"""Autobahn|Testsuite against the edge's socket class: `python -m tests.autobahn`, exit status 1 if a case failed."""
