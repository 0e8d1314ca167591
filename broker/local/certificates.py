"""A certificate authority of one's own, and the certificate of a server that it signs."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.local.private_files import create, replace

_CA_LASTS: Final = timedelta(days=3650)
_SERVER_LASTS: Final = timedelta(days=397)
"""Longer ones are refused by some clients."""
RENEWED_BEFORE: Final = timedelta(days=30)
_CLOCKS_DIFFER: Final = timedelta(hours=1)
_USAGES: Final = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
"""A server of a cluster is the client of the server that it opens a route to."""


def certify(ca: Path, server: Path, names: Collection[str], now: datetime) -> bool:
    """Makes what is missing: `ca.pem` and `ca.key` in the one directory, `server.pem` and `server.key` in the other.

    Keys stay as they are. The server's certificate is made anew when it ends within 30 days, when it lacks one of the
    names or cannot be used between the servers of a cluster, or when another CA has signed it. It keeps its names.

    Args:
        names: host names and IP addresses at which clients reach the server.
        now: with a time zone.

    Returns:
        Whether the server's certificate is a new one.
    """
    ca_key = _key(ca / "ca.key")
    if not (ca / "ca.pem").exists():
        create(ca / "ca.pem", _pem(_authority(ca_key, now)), private=False)
    authority = x509.load_pem_x509_certificate((ca / "ca.pem").read_bytes())
    server_key = _key(server / "server.key")
    path, wanted = server / "server.pem", [_name(each) for each in names]
    if path.exists():
        standing = x509.load_pem_x509_certificate(path.read_bytes())
        if _serves(standing, authority, server_key, wanted, now):
            return False
        wanted += _names_in(standing)
    replace(path, _pem(_signed(server_key, authority, ca_key, wanted, now)), private=False)
    return True


def _serves(
    standing: x509.Certificate,
    authority: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    wanted: Collection[x509.GeneralName],
    now: datetime,
) -> bool:
    if standing.public_key() != key.public_key() or standing.not_valid_after_utc - now < RENEWED_BEFORE:
        return False
    try:
        standing.verify_directly_issued_by(authority)
    except Exception:  # of any kind: it is another authority's
        return False
    if list(standing.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) != _USAGES:
        return False
    return set(wanted) <= set(_names_in(standing))


def _names_in(certificate: x509.Certificate) -> list[x509.GeneralName]:
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        kind = serialization.PrivateFormat.PKCS8
        create(path, made.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()))
    found = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    return found


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "testcast broker CA")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs certificates, and lists
    return (
        _begun(name, name, key, now, _CA_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _signed(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    names: Collection[x509.GeneralName],
    now: datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "testcast broker")])
    held = x509.SubjectAlternativeName(dict.fromkeys(names))
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _begun(name, authority.subject, key, now, _SERVER_LASTS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(held, critical=False)
        .add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + lasts)
    )


def _name(given: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(given))
    except ValueError:
        return x509.DNSName(given)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
