"""The Python API: follow runs through an edge (`watch`) or over NATS (`tail`), and call an edge's RPC (`rpc`).

It imports nothing from `testcast.cli` or `testcast.local`.
"""
