"""The read part of Durable Streams' public conformance kit against a running edge: `make durable`.

The kit creates streams by PUT and POST, which an edge does not have. `shim` stands in between: it makes runs and events
of the kit's writes, and passes every read on to the edge's `/ds`.
"""
