"""Real nats-servers with configurations of a test's own, and the certificates, keys and tokens that clients show."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nkeys
import orjson

from broker.jetstream.connection import Connection
from broker.local.child_process import Child
from broker.local.embedded_server import find_binary
from broker.login import NatsSettings
from tests.harness import free_port


class Server:
    """A nats-server with a configuration of its own."""

    def __init__(self, folder: Path, text: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.file = folder / "nats.conf"
        self.write(text)
        self.child = Child([find_binary(), "-c", str(self.file)], folder / "nats.log", dict(os.environ))

    def write(self, text: str) -> None:
        self.file.write_text(f"host: 127.0.0.1\nport: {self.port}\n{text.replace('STORE', str(self.file.parent))}\n")

    def url(self, login: str = "", scheme: str = "nats") -> str:
        return f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(folder: Path, text: str) -> AsyncIterator[Server]:
    """Runs one. `STORE` in the text stands for its folder."""
    server = Server(folder, text)
    try:
        yield server
    finally:
        await server.child.stop(10)


async def connected(url: str, **settings: Any) -> Connection:
    """A connection with these fields of `NatsSettings`."""
    return await Connection.connect(url, name="test", timeout_s=20, settings=NatsSettings(**settings))


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """A CA, a certificate of the server and one of a client, as PEM files."""
    folder.mkdir()
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(folder, "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=our own CA")
    for name in ("server", "client"):
        openssl(folder, "req", *curve[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    (folder / "both.pem").write_text((folder / "client.pem").read_text() + (folder / "client.key").read_text())


def seed(kind: int) -> bytes:
    """A new seed; `kind` is one of `nkeys.PREFIX_BYTE_…`."""
    return bytes(nkeys.encode_seed(os.urandom(32), kind))


def jwt(issuer: Any, subject: str, kind: str, **claims: Any) -> str:
    """A token of NATS's own kind, as `nsc` writes them."""
    body = {"iss": issuer.public_key.decode(), "sub": subject, "iat": 1, "nats": {"type": kind, "version": 2, **claims}}
    body["jti"] = base64.b32encode(hashlib.sha256(orjson.dumps(body)).digest()).decode().rstrip("=")
    parts = [orjson.dumps({"typ": "JWT", "alg": "ed25519-nkey"}), orjson.dumps(body)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return f"{signed.decode()}.{base64.urlsafe_b64encode(issuer.sign(signed)).rstrip(b'=').decode()}"


def credentials_file(token: str, user_seed: bytes) -> str:
    """What `nsc generate creds` prints: a user's token and seed."""
    dashes, kind = "-" * 5, "seed".upper()
    return (
        f"{dashes}BEGIN NATS USER JWT{dashes}\n{token}\n------END NATS USER JWT------\n\n"
        f"{dashes}BEGIN USER NKEY {kind}{dashes}\n{user_seed.decode()}\n------END USER NKEY {kind}------\n"
    )
