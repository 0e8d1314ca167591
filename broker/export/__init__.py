"""One run as a file: an HTML page, JSON, JUnit XML or an animation.

The edge and the command write the same bytes: both give a `Source` to the functions of this package. Nothing here knows
NATS or HTTP.
"""
