"""A queue's password and certificates, made when the queue is made and kept in one Secret, nowhere else."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pulumi

from primage.components.generated_secret import GeneratedSecret, GeneratedSecretProvider

DAYS = 365
KEYS = "~arguments ~counters ~dead ~failures ~rate ~seen"
COMMANDS = (
    "evalsha hdel hget hincrby hkeys hmget hset ping sadd script|load sismember time "
    "xack xadd xautoclaim xclaim xdel xgroup|create xlen xpending xrange xreadgroup xrevrange"
)
"""What primage-queue and its scripts say, and nothing else: who has the password can neither drop nor replace a key."""


class QueueCredentials(GeneratedSecret, module="primage", name="QueueCredentials"):
    """A Secret with `password`, `users.acl`, `ca.crt`, `tls.crt`, `tls.key`.

    Attributes:
        generation: changes whenever the Secret is replaced; tells an old queue's files from the new one's.
    """

    generation: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: pulumi.Input[str],
        context: pulumi.Input[str],
        namespace: pulumi.Input[str],
        secret: str,
        hosts: list[pulumi.Input[str]],
        labels: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "kubeconfig": kubeconfig,
            "context": context,
            "namespace": namespace,
            "secret": secret,
            "hosts": hosts,
            "labels": labels,
        }
        super().__init__(QueueCredentialsProvider(), name, inputs, opts)


class QueueCredentialsProvider(GeneratedSecretProvider):
    """Makes such a Secret."""

    fixed = ("namespace", "secret", "hosts")

    def make(self, props: dict[str, Any]) -> dict[str, str]:
        """New ones, for these hosts."""
        return make_credentials(props["hosts"])


def make_credentials(hosts: Iterable[str]) -> dict[str, str]:
    """A password, an access list that knows it by its SHA-256 only, and a server certificate of an authority of its own."""
    password = secrets.token_urlsafe(32)
    digest = hashlib.sha256(password.encode()).hexdigest()
    rights = f"{KEYS} -@all {' '.join(f'+{command}' for command in COMMANDS.split())}"
    return {
        "password": password,
        # Nobody logs in as `default`; but Redis reads its append-only file back as that user, and without its rights
        # silently leaves out every transaction.
        "users.acl": f"user default off ~* &* +@all -@admin -@dangerous\nuser queue on #{digest} {rights}\n",
        **_certificates(list(hosts)),
    }


def _certificates(hosts: list[str]) -> dict[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)

    def build(subject: str, issuer: str, key: Any, *, authority: bool) -> x509.CertificateBuilder:
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text[:64])]) for text in (subject, issuer)]
        builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(minutes=10))
        builder = builder.not_valid_after(now + timedelta(days=DAYS))
        return builder.add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)

    def pem(certificate: x509.Certificate) -> str:
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = f"authority of {hosts[0]}"
    authority = build(authority_name, authority_name, authority_key, authority=True).sign(authority_key, hashes.SHA256())
    alternatives = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    server = build(hosts[0], authority_name, key, authority=False).add_extension(alternatives, critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {"ca.crt": pem(authority), "tls.crt": pem(server.sign(authority_key, hashes.SHA256())), "tls.key": private}
