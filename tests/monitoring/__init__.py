"""Monitoring: the committed rules and dashboard on a real Prometheus.

`python -m tests.monitoring` causes every alert.
"""
