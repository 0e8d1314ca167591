"""Metrics: what a part counts, how the counts of several processes become one page, and the port that serves them.

A part counts with plain integers and `Histogram`s and shows them in its `statistics()`. A collector turns these into
families when somebody asks; nothing is computed for a page that nobody reads. No family has a label per test.
"""
