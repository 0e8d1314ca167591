"""The edge: stateless nodes that fan a run's events out to its viewers. Of this project it imports only `broker`.

The rooms, each of which imports only those before it:

* `encoding`: how events and control messages become bytes.
* `fanout`: a topic for each test with viewers takes events from the broker and releases them to every live session;
  sessions that are behind catch up from its ring, or from the stream.
* `views` (beside `fanout`): the catalogue is the list of all runs; projector and reaper keep the snapshots true.
* `transport`: connections, handshakes, the viewers' sockets, and the limits on them.
* `api`: the RPC, its response cache, and the dashboard's files, over HTTP.

`node` puts the parts together, `main` runs them under uvicorn, `supervisor` runs several processes on one port.
"""
