"""The configuration of a nats-server with a user per role and TLS. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from broker.contract.roles import Rights, Role

_HEAD: Final = """\
# Written by `testcast broker --secure` at each start: what is changed here is lost.
# Acknowledged means on disk.
jetstream {
  sync_interval: always
}
# Events are at most 64 KiB, pictures too; snapshots may be larger.
max_payload: 512KB
"""


CLUSTER_PORT: Final = 6222
"""Where the servers of a cluster reach each other."""


class Cluster(NamedTuple):
    """The servers of a cluster. They share a certificate, and take no route from one that has none of the same CA."""

    routes: Collection[str]
    """The name at which each of them is reached by the others."""
    ca: Path
    """The CA's certificate, PEM."""


def server_config(
    rights: Mapping[Role, Rights],
    keys: Mapping[Role, str],
    certificate: Path,
    key: Path,
    cluster: Cluster | None = None,
) -> str:
    """Returns the configuration's text. It has no secret in it.

    It opens no port but the one for clients, and in a cluster the one for the other servers. A cluster's servers have
    the same: a server's own name (`--name`) and where it takes routes (`--cluster`) stand in its command.

    Args:
        rights: what each role may do. The account of the first role is the one with the streams.
        keys: the public nkey of each role's user.
        certificate, key: the server's, PEM.
        cluster: None: the server stands alone.
    """
    main = next(iter(rights.values())).account
    accounts: dict[str, list[Role]] = {}
    for role, each in rights.items():
        accounts.setdefault(each.account, []).append(role)
    blocks = [_account(name, main, roles, rights, keys) for name, roles in accounts.items()]
    tls = f"tls {{\n  cert_file: {_text(certificate)}\n  key_file: {_text(key)}\n}}\n"
    routes = "" if cluster is None else _cluster(cluster, certificate, key)
    return f"{_HEAD}{tls}{routes}accounts {{\n{''.join(blocks)}}}\n"


def _cluster(cluster: Cluster, certificate: Path, key: Path) -> str:
    files = f"cert_file: {_text(certificate)}, key_file: {_text(key)}, ca_file: {_text(cluster.ca)}"
    routes = _texts(f"tls://{each}:{CLUSTER_PORT}" for each in cluster.routes)
    return f"cluster {{\n  name: testcast\n  tls: {{{files}, verify: true}}\n  routes: {routes}\n}}\n"


def _account(name: str, main: str, roles: list[Role], rights: Mapping[Role, Rights], keys: Mapping[Role, str]) -> str:
    users = [_user(role, rights[role], keys[role]) for role in roles]
    if name == main:
        shared = ["    jetstream: enabled\n", _list("exports", _exports(rights, main))]
    else:
        shared = [_list("imports", [line for role in roles for line in _imports(rights[role], main)])]
    return f"  {name} {{\n{''.join(shared)}{_list('users', users)}  }}\n"


def _user(role: Role, rights: Rights, key: str) -> str:
    publish = f"publish: {{allow: {_texts(rights.publish)}, deny: {_texts(rights.never_publish)}}}"
    subscribe = f"subscribe: {{allow: {_texts(rights.subscribe)}}}"
    return f"{{nkey: {key}, permissions: {{{publish}, {subscribe}}}}}  # {role.value}"


def _exports(rights: Mapping[Role, Rights], main: str) -> list[str]:
    apart = [each for each in rights.values() if each.account != main]
    requests = {there: several for each in apart for there, _here, several in each.requests}
    lines = []
    for there, several in requests.items():
        takers = ", ".join(each.account for each in apart if there in [request for request, _, _ in each.requests])
        answers = ", response: stream" if several else ""
        lines.append(f"{{service: {_text(there)}{answers}, accounts: [{takers}]}}")
    for heard in dict.fromkeys(subject for each in apart for subject in each.hears):
        takers = ", ".join(each.account for each in apart if heard in each.hears)
        lines.append(f"{{stream: {_text(heard)}, accounts: [{takers}]}}")
    return lines


def _imports(rights: Rights, main: str) -> list[str]:
    lines = [
        f"{{service: {{account: {main}, subject: {_text(there)}}}, to: {_text(here)}}}"
        for there, here, _several in rights.requests
    ]
    return lines + [f"{{stream: {{account: {main}, subject: {_text(each)}}}}}" for each in rights.hears]


def _list(name: str, lines: Iterable[str]) -> str:
    return f"    {name}: [\n{''.join(f'      {line}{chr(10)}' for line in lines)}    ]\n"


def _text(value: object) -> str:
    return json.dumps(str(value))


def _texts(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"
