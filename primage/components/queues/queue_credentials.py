"""A queue's password and certificates, made when the queue is made and kept in one Secret, nowhere else."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any

import pulumi

from primage.components.certificates import new_authority
from primage.components.generated_secret import GeneratedSecret, GeneratedSecretProvider

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
    password, names = secrets.token_urlsafe(32), list(hosts)
    digest = hashlib.sha256(password.encode()).hexdigest()
    rights = f"{KEYS} -@all {' '.join(f'+{command}' for command in COMMANDS.split())}"
    return {
        "password": password,
        # Nobody logs in as `default`; but Redis reads its append-only file back as that user, and without its rights
        # silently leaves out every transaction.
        "users.acl": f"user default off ~* &* +@all -@admin -@dangerous\nuser queue on #{digest} {rights}\n",
        **new_authority(f"authority of {names[0]}").issue(names),
    }
