"""What everything agrees on: ids, events, snapshots, positions, errors, interfaces. Pure: no I/O, no clock."""
