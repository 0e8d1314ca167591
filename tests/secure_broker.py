"""A broker with a user per role, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from broker.contract.roles import Role
from broker.jetstream import topology
from broker.jetstream.connection import Connection
from broker.jetstream.permissions import rights
from broker.local.embedded_server import EmbeddedServer
from broker.local.secure_access import SecureAccess

ROLES = {role: rights(role) for role in Role}


class SecureBroker(NamedTuple):
    """A running one, with the streams of testcast."""

    server: EmbeddedServer
    access: SecureAccess

    async def connect(self, role: Role) -> Connection:
        """A connection as a part of that role."""
        return await Connection.connect(
            self.server.url, name=role.value, timeout_s=20, settings=self.access.login(role)
        )

    def settings(self, role: Role) -> dict[str, str]:
        """The settings of a process of that role."""
        return self.access.settings(role, self.server.url)


@contextlib.asynccontextmanager
async def secure_broker(folder: Path, *, declared: bool = True) -> AsyncIterator[SecureBroker]:
    """Starts one."""
    access = SecureAccess(folder / "access", ROLES)
    access.prepare(["127.0.0.1", "localhost"], datetime.now(UTC))
    async with EmbeddedServer(folder / "nats", secure_config=access.config) as server:
        broker = SecureBroker(server, access)
        if declared:
            operator = await broker.connect(Role.OPERATOR)
            await topology.apply(operator)
            await operator.close()
        yield broker
