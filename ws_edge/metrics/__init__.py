"""The metrics of an edge: families from the figures of its node, and the port that serves them."""
