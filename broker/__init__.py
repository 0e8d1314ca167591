"""The contract every part of testcast shares: names, messages, positions, and the one way to the broker.

Imports nothing of ours. Pure: `subjects`, `messages`, `snapshot`, `position`, `errors`, `gameurl`.
With I/O: `nats` (the one file that imports nats), `streams`, `topology`, `runs`, `server`.
Everything that crosses a wire is written down in PROTOCOL.md beside this file.
"""
