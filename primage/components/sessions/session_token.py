"""The token that opens an interactive session, made when the session is made and kept in one Secret, nowhere else."""

from __future__ import annotations

import secrets
from typing import Any

import pulumi

from primage.components.generated_secret import GeneratedSecret, GeneratedSecretProvider


class SessionToken(GeneratedSecret, module="primage", name="SessionToken"):
    """A Secret with the key `token`."""

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: pulumi.Input[str],
        context: pulumi.Input[str],
        namespace: pulumi.Input[str],
        secret: str,
        labels: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {"kubeconfig": kubeconfig, "context": context, "namespace": namespace, "secret": secret, "labels": labels}
        super().__init__(SessionTokenProvider(), name, inputs, opts)


class SessionTokenProvider(GeneratedSecretProvider):
    """Makes such a Secret."""

    def make(self, props: dict[str, Any]) -> dict[str, str]:  # noqa: ARG002
        """A token that cannot be guessed."""
        return {"token": secrets.token_urlsafe(32)}
