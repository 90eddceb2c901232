"""Certificates of servers: of an authority that stands, or of one made for the purpose and thrown away."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

DAYS, AUTHORITY_DAYS = 365, 3650
RENEWED_DAYS = 60
"""Days before its end from which a certificate is made again."""


@dataclass(frozen=True)
class Authority:
    """Its certificate and its private key, as the library has them."""

    certificate: Any
    key: Any

    @property
    def pem(self) -> str:
        """The certificate."""
        return _pem(self.certificate)

    def write(self, folder: Path) -> None:
        """Its `ca.crt`, and `ca.key` for nobody else to read; the folder is there."""
        key = folder / "ca.key"
        key.touch(mode=0o600)
        key.write_text(_private(self.key))
        (folder / "ca.crt").write_text(self.pem)

    def issue(self, hosts: list[str]) -> dict[str, str]:
        """`ca.crt`, `tls.crt` and `tls.key` of a server that is reached by these names and addresses."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        key = _new_key()
        alternatives = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        server = _builder(hosts[0], self.certificate.subject, key, authority=False).add_extension(alternatives, critical=False)
        return {"ca.crt": self.pem, "tls.crt": _pem(server.sign(self.key, hashes.SHA256())), "tls.key": _private(key)}


def new_authority(name: str) -> Authority:
    """One that nobody else knows."""
    from cryptography.hazmat.primitives import hashes

    key = _new_key()
    return Authority(_builder(name, _name(name), key, authority=True).sign(key, hashes.SHA256()), key)


def authority_in(folder: Path) -> Authority:
    """The one whose `ca.crt` and `ca.key` are there.

    Raises:
        OSError: they are not.
        ValueError: they are not a certificate and its key.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    if certificate.public_key() != key.public_key():
        raise ValueError("ca.key is not the key of ca.crt")
    return Authority(certificate, key)


def ends_soon(certificate: str) -> bool:
    """Whether a certificate, PEM, is to be made again."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc < datetime.now(UTC) + timedelta(
        days=RENEWED_DAYS
    )


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text[:64])])


def _general_name(host: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: str, issuer: Any, key: Any, *, authority: bool) -> Any:
    from cryptography import x509

    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(minutes=10))
    builder = builder.not_valid_after(now + timedelta(days=AUTHORITY_DAYS if authority else DAYS))
    return builder.add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    return str(certificate.public_bytes(serialization.Encoding.PEM).decode())


def _private(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    written = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return str(written.decode())
