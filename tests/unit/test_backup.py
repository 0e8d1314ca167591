"""What a restore makes of a backup's description (broker/jetstream/backup.py)."""

from __future__ import annotations

from broker.jetstream.backup import with_replicas


def test_a_backup_of_one_server_gets_the_copies_of_a_cluster_and_none_loses_any() -> None:
    described = {"config": {"name": "EVENTS", "num_replicas": 1}, "state": {"messages": 3}}
    assert with_replicas(described, 3) == {"config": {"name": "EVENTS", "num_replicas": 3}, "state": {"messages": 3}}
    assert described["config"] == {"name": "EVENTS", "num_replicas": 1}, "the backup itself stays as it is"
    of_a_cluster = {"config": {"name": "EVENTS", "num_replicas": 3}, "state": {}}
    assert with_replicas(of_a_cluster, 1) == of_a_cluster
    assert with_replicas({"config": {}, "state": {}}, 1)["config"] == {"num_replicas": 1}
