"""A queue's password and certificates, made when the queue is made and kept in one Secret, nowhere else.

A dynamic provider writes the Secret itself and hands back only its name: neither engine's state ever holds what is in it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

DAYS = 365
MANAGER = "primage-credentials"


class QueueCredentials(Resource):
    """A Secret with `password`, `users.acl`, `ca.crt`, `tls.crt`, `tls.key`.

    Attributes:
        generation: changes whenever the Secret is made anew; tells an old queue's files from the new one's.
    """

    generation: pulumi.Output[str]

    def __init__(
        self, name: str, *, kubeconfig: pulumi.Input[str], context: pulumi.Input[str], namespace: pulumi.Input[str],
        secret: str, hosts: list[pulumi.Input[str]], labels: dict[str, str], opts: pulumi.ResourceOptions | None = None,
    ) -> None:  # fmt: skip
        inputs = {
            "kubeconfig": kubeconfig, "context": context, "namespace": namespace, "secret": secret, "hosts": hosts,
            "labels": labels, "generation": None,
        }  # fmt: skip
        super().__init__(_Provider(), name, inputs, opts)


class _Provider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        from primage.clients.cluster import Cluster, Ref

        cluster = Cluster(props["kubeconfig"], props["context"])
        ref = Ref("v1", "Secret", props["secret"], props["namespace"])
        if cluster.get(ref) is None:  # an earlier run may have been killed between writing it and noting that it did
            obj = {
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": props["labels"]},
                "stringData": make_credentials(props["hosts"]),
            }  # fmt: skip
            cluster.apply(obj, manager=MANAGER)
        found = cluster.get(ref) or {}
        generation = str(found.get("metadata", {}).get("uid", ""))[:8]
        return CreateResult(f"{ref.namespace}/{ref.name}", {**props, "generation": generation})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        from primage.clients.cluster import Cluster, Ref

        fixed = ("namespace", "secret", "hosts")
        replaces = [key for key in fixed if olds.get(key) != news.get(key)]
        ref = Ref("v1", "Secret", news["secret"], news["namespace"])
        if not replaces and Cluster(news["kubeconfig"], news["context"]).get(ref) is None:
            replaces = ["secret"]  # somebody deleted it
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        from primage.clients.cluster import Cluster, Ref

        ref = Ref("v1", "Secret", props["secret"], props["namespace"])
        Cluster(props["kubeconfig"], props["context"]).delete(ref)


def make_credentials(hosts: Iterable[str]) -> dict[str, str]:
    """A password, an access list that knows it by its SHA-256 only, and a server certificate of an authority of its own."""
    password = secrets.token_urlsafe(32)
    digest = hashlib.sha256(password.encode()).hexdigest()
    rights = "~* &* +@all -@admin -@dangerous"
    return {
        "password": password,
        # Nobody logs in as `default`; but Redis reads its append-only file back as that user, and without its rights
        # silently leaves out every transaction.
        "users.acl": f"user default off {rights}\nuser queue on #{digest} {rights}\n",
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
