"""What a tenant's pods may reach, and who may reach them."""

from __future__ import annotations

from primage.contract import names
from primage.contract.egress import TO_NAMES, for_tokens, pods_with, to_login
from primage.contract.gateway import GATEWAY, PROXY_PORT, GatewayConfig
from primage.contract.login import LoginConfig
from primage.contract.networks import NetworkConfig, outside
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object, inside


def network_policies(tenant: Tenant, network: NetworkConfig, login: LoginConfig | None) -> list[Object]:
    """What its pods may reach, and who may reach them: nothing, and then what is named here.

    Those of apps only open ways inside the namespace (infra/admission/objects.py sees to that).
    """
    own: list[Object] = [{"podSelector": {}}]
    # Queues and the like are reached by those their own policy names, not by everybody in the namespace.
    open_ones = {"matchExpressions": [{"key": names.LABEL_PRIVATE, "operator": "DoesNotExist"}]}
    specs: dict[str, Object] = {
        "default-deny": {"policyTypes": ["Ingress", "Egress"]},
        "allow-dns": {"policyTypes": ["Egress"], "egress": [TO_NAMES]},
        "allow-own-namespace": {"policyTypes": ["Egress"], "egress": [{"to": own}]},
        "accept-own-namespace": {"podSelector": open_ones, "policyTypes": ["Ingress"], "ingress": [{"from": own}]},
    }
    if network.api_servers:
        specs["allow-api"] = for_tokens(network)
    if tenant.vo.egress:
        blocks = [outside(cidr, network.machines) for cidr in tenant.vo.egress]
        specs["allow-egress"] = {"policyTypes": ["Egress"], "egress": [{"to": blocks}]}
    if login and login.gateway:
        specs["allow-session-login"] = _login_proxies(login, login.gateway)
    kind = ("networking.k8s.io/v1", "NetworkPolicy")
    return [inside(tenant, *kind, name, spec={"podSelector": {}, **spec}) for name, spec in specs.items()]


def _login_proxies(login: LoginConfig, gateway: GatewayConfig) -> Object:
    """For pods of sessions: browsers reach their login proxies through the gateway, and those reach the issuer."""
    return {
        "podSelector": {"matchLabels": {names.LABEL_SESSION: "true"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [pods_with(*_gateway_pods(gateway))], "ports": [{"protocol": "TCP", "port": PROXY_PORT}]}],
        # A tenant's pods never reach any address: where the issuer goes by a name, the site says where that leads.
        "egress": to_login(login, names.SYSTEM_NAMESPACE, login.networks),
    }


def _gateway_pods(gateway: GatewayConfig) -> tuple[dict[str, str], str]:
    """The labels of the pods that browsers' connections come from, and their namespace."""
    if gateway.controller.kind == "existing":
        return dict(gateway.controller.labels), gateway.controller.namespace
    return {names.LABEL_APP: GATEWAY}, names.SYSTEM_NAMESPACE
