"""The steps of one run, and what becomes of what they have found: feed, summary, score."""
