"""The connection to a site's cluster, as every program makes it."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as kubernetes


def cluster_provider(kubeconfig: pulumi.Input[str], context: pulumi.Input[str]) -> kubernetes.Provider:
    """A Kubernetes provider for the site.

    Config maps and secrets are changed in place rather than replaced, so that both engines do the same.
    """
    return kubernetes.Provider(
        "cluster",
        kubeconfig=_unless_empty(kubeconfig),
        context=_unless_empty(context),
        enable_server_side_apply=True,
        enable_config_map_mutable=True,
        enable_secret_mutable=True,
    )


def _unless_empty(text: pulumi.Input[str]) -> pulumi.Output[str | None]:
    return pulumi.Output.from_input(text).apply(lambda value: value or None)
