"""The keys, certificates and configuration of a secure broker, below one directory.

    ca/         ca.pem, ca.key        signs the server's certificate
    server/     server.pem, server.key, nats.conf; in a cluster also ca.pem; the same for all its servers
    edge/       nkey, ca.pem, env     what one role needs, in a directory that can be handed on by itself
    agent/, reader/, operator/        likewise

Directories are for their owner only, and so are keys. A key is made once and never overwritten.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from broker.contract.errors import ServerNotStarted
from broker.contract.roles import Rights, Role
from broker.local.listening import host_port
from broker.local.private_files import create, folder, replace
from broker.local.secure_config import Cluster, server_config
from broker.login import NatsSettings

_SEED: Final = "nkey"
ENV: Final = "env"
"""The file of a role's settings, one `NAME=value` a line."""


class SecureAccess(NamedTuple):
    """A secure broker's files."""

    directory: Path
    rights: Mapping[Role, Rights]

    @property
    def config(self) -> Path:
        """The nats-server's configuration."""
        return self.directory / "server" / "nats.conf"

    def login(self, role: Role) -> NatsSettings:
        """How a part of this role logs in."""
        folder_of = self.directory / role.value
        return NatsSettings(
            ca=folder_of / "ca.pem",
            nkey=folder_of / _SEED,
            api_prefix=self.rights[role].api_prefix,
            inbox_prefix=role.inbox_prefix,
        )

    def settings(self, role: Role, url: str) -> dict[str, str]:
        """The settings of a part of this role, as environment variables. They name files and hold no secret.

        Args:
            url: the broker's address as that part reaches it.
        """
        login = self.login(role)
        found = {
            "TESTCAST_NATS_URL": url,
            "TESTCAST_NATS_CA": str(login.ca),
            "TESTCAST_NATS_NKEY": str(login.nkey),
            "TESTCAST_NATS_INBOX_PREFIX": login.inbox_prefix,
            "TESTCAST_NATS_MANAGE_STREAMS": "1" if role is Role.OPERATOR else "0",
        }
        return found | ({"TESTCAST_NATS_JS_API_PREFIX": login.api_prefix} if login.api_prefix else {})

    def prepare(self, names: Collection[str], now: datetime, *, routes: Collection[str] = ()) -> None:
        """Makes what is missing, renews the server's certificate when it is due, and writes the configuration.

        Args:
            names: host names and IP addresses at which clients reach the server.
            now: with a time zone.
            routes: where the servers of a cluster reach each other; empty: one server. They are among `names`.

        Raises:
            ServerNotStarted: a file cannot be read, used or written; the message names it.
        """
        try:
            self._prepare(names, now, routes)
        except OSError as error:
            raise ServerNotStarted(f"the keys of the broker: {error.filename}: {error.strerror}") from None
        except ValueError:  # its own text may quote a key
            raise ServerNotStarted(
                f"a key or certificate below {self.directory} cannot be used: restore it from a backup, or move the "
                "directory away to have all of them made anew"
            ) from None

    def _prepare(self, names: Collection[str], now: datetime, routes: Collection[str]) -> None:
        from broker.local.certificates import certify  # slow to import, and few commands need it

        ca, server = self.directory / "ca", self.directory / "server"
        for each in (self.directory, ca, server, *(self.directory / role.value for role in self.rights)):
            folder(each)
        certify(ca, server, names, now)
        keys = {role: _public_key(self.directory / role.value / _SEED) for role in self.rights}
        for role in self.rights:
            replace(self.directory / role.value / "ca.pem", (ca / "ca.pem").read_bytes(), private=False)
        cluster = Cluster(routes, server / "ca.pem") if routes else None
        if cluster is not None:
            replace(cluster.ca, (ca / "ca.pem").read_bytes(), private=False)
        text = server_config(self.rights, keys, server / "server.pem", server / "server.key", cluster)
        replace(self.config, text.encode())

    def write_settings(self, host: str, port: int, *, others: Sequence[str] = (), replicas: int = 1) -> None:
        """Writes each role's settings into its file `env`.

        Args:
            host: as clients reach the broker.
            others: as they reach the other servers of a cluster.
            replicas: of the streams that the operator makes.
        """
        url = ",".join(f"tls://{host_port(each, port)}" for each in (host, *others))
        for role in self.rights:
            settings = self.settings(role, url)
            if role is Role.OPERATOR and replicas > 1:
                settings["TESTCAST_NATS_REPLICAS"] = str(replicas)
            lines = "".join(f"{name}={value}\n" for name, value in settings.items())
            replace(self.directory / role.value / ENV, lines.encode())


def _public_key(seed_file: Path) -> str:
    """The public key of a user, whose seed is made where there is none."""
    import nkeys  # slow to import, and few commands need it

    if not seed_file.exists():
        create(seed_file, bytes(nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)) + b"\n")
    try:
        pair = nkeys.from_seed(bytearray(seed_file.read_bytes().strip()))
    except OSError:
        raise
    except Exception:
        raise ValueError("not a seed") from None
    return str(pair.public_key.decode())
