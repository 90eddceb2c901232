"""The way in to members' sessions: a Gateway for all hosts below one domain, and what does its work.

https://gateway-api.sigs.k8s.io
"""

from __future__ import annotations

from typing import Any

import pulumi

from infra.components.cluster_role import cluster_role
from infra.components.contour import CONTROLLER, Contour
from infra.components.https_server import certificates
from infra.components.system_object import system_object
from primage.components.kubernetes_object import KubernetesObject
from primage.contract import gateway_api, names
from primage.contract.gateway import GATEWAY, LISTENER, ContourConfig, GatewayConfig
from primage.contract.https import HTTPS_PORT
from primage.contract.networks import NetworkConfig
from primage.projects.connection import Connection

CLASS = "primage"
LOOK = ("get", "list", "watch")
CHANGE = ("create", "delete", "deletecollection", "patch", "update")


class Gateway(pulumi.ComponentResource):
    """The Gateway with its certificate, who may attach routes to it, and Contour where no other controller does its work.

    Args:
        labels: of the Secrets that are generated.
    """

    def __init__(
        self,
        name: str,
        config: GatewayConfig,
        network: NetworkConfig,
        cluster: Connection,
        labels: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:Gateway", name, {}, opts)
        here = pulumi.ResourceOptions(parent=self)
        own = {names.LABEL_APP: GATEWAY}
        given = {**cluster.as_inputs(), "namespace": names.SYSTEM_NAMESPACE, "labels": {**labels, **own}}
        for role, rules in rights().items():
            part_of = {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"}
            cluster_role(f"{name}-primage-routes-{role}", f"primage-routes-{role}", rules, here, part_of)
        needed: list[pulumi.Resource] = [*certificates(name, config, [f"*.{config.domain}"], given, here)]
        if isinstance(config.controller, ContourConfig):
            kind = gateway_api.GATEWAY_CLASS
            metadata, spec = {"name": CLASS}, {"controllerName": CONTROLLER}
            needed.append(KubernetesObject(kind.api_version, kind.kind, f"{name}-class", metadata=metadata, spec=spec, opts=here))
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        kind = gateway_api.GATEWAY
        made = system_object(name, own, after, kind.api_version, kind.kind, GATEWAY, spec=_gateway(config))
        if isinstance(config.controller, ContourConfig):
            after = pulumi.ResourceOptions(parent=self, depends_on=[made])
            Contour("contour", config.controller, network, given, opts=after)
        self.register_outputs({})


def rights() -> dict[str, list[dict[str, Any]]]:
    """What members may do with routes, by the role that this is part of (primage/contract/roles.py).

    Admission says which routes (infra/admission/routes.py).
    """
    routes = [kind.resources for kind in gateway_api.OF_MEMBERS]
    return {
        role: [{"apiGroups": [gateway_api.GROUP], "resources": routes, "verbs": list(verbs)}]
        for role, verbs in (("edit", CHANGE), ("view", LOOK))
    }


def _gateway(config: GatewayConfig) -> dict[str, Any]:
    contour = isinstance(config.controller, ContourConfig)
    tenants = {"matchExpressions": [{"key": names.LABEL_VO, "operator": "Exists"}]}
    routes = {"group": gateway_api.GROUP, "kind": gateway_api.ROUTE.kind}
    listener = {
        "name": LISTENER,
        "hostname": f"*.{config.domain}",
        # Of Contour a port of the nodes leads to this one.
        "port": HTTPS_PORT if contour else config.port,
        "protocol": "HTTPS",
        "tls": {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": config.certificate_secret}]},
        "allowedRoutes": {"namespaces": {"from": "Selector", "selector": tenants}, "kinds": [routes]},
    }
    class_name = CLASS if isinstance(config.controller, ContourConfig) else config.controller.class_name
    return {"gatewayClassName": class_name, "listeners": [listener]}
