"""The contract that all parts of testcast share, and the one adapter to NATS. Imports no other package of testcast.

`contract/`
    Pure: ids, subjects, events, snapshots, positions, errors, and the interfaces of `ports.py`.
`jetstream/`
    The only package that knows NATS. `client.py` is the only file that imports it.
`local/`
    An embedded nats-server, child processes, name resolution.

PROTOCOL.md beside this file describes everything that crosses a wire.
"""
