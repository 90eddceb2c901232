"""The rules of tenants' namespaces as Kubernetes' own objects: ValidatingAdmissionPolicies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from infra.admission import objects
from infra.admission.pods import pod_policies
from infra.admission.policy import Policy, Rule
from infra.admission.routes import route_policies
from primage.components.kubernetes_object import KubernetesObject
from primage.contract import names
from primage.contract.gateway import GatewayConfig


class Admission(pulumi.ComponentResource):
    """Policies `primage-…` and their bindings. They hold in every namespace of a tenant, and in no other.

    What cannot be decided is refused (`failurePolicy: Fail`): a policy asks nobody, so nothing but a mistake in it fails.

    Args:
        priorities: names of the site's priority classes.
        gateway: where the site has one.
    """

    def __init__(
        self,
        name: str,
        priorities: Sequence[str],
        gateway: GatewayConfig | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:Admission", name, {}, opts)
        of_routes = route_policies(gateway.domain if gateway else "")
        for policy in (*pod_policies(priorities), *objects.POLICIES, *of_routes):
            declare_policy(name, policy, pulumi.ResourceOptions(parent=self))
        self.register_outputs({})


def declare_policy(name: str, policy: Policy, opts: pulumi.ResourceOptions) -> None:
    """Declare one policy and its binding.

    Args:
        name: of the component that it is part of.
    """
    made = KubernetesObject(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
        f"{name}-{policy.name}",
        metadata={"name": full_name(policy)},
        spec=policy_spec(policy),
        opts=opts,
    )
    KubernetesObject(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        f"{name}-{policy.name}-binding",
        metadata={"name": full_name(policy)},
        spec={"policyName": made.name, "validationActions": ["Deny"]},
        opts=opts,
    )


def full_name(policy: Policy) -> str:
    """What the policy and its binding are called."""
    return f"primage-{policy.name}"


def policy_spec(policy: Policy) -> dict[str, Any]:
    """A policy as Kubernetes takes it."""
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "namespaceSelector": {"matchExpressions": [{"key": names.LABEL_VO, "operator": "Exists"}]},
            "resourceRules": [
                {
                    "apiGroups": [on.group],
                    "apiVersions": ["*"],
                    "resources": list(on.resources),
                    "operations": list(on.operations),
                    "scope": "Namespaced",
                }
                for on in policy.on
            ],
        },
        "matchConditions": _named(policy.conditions),
        "variables": _named(policy.variables),
        "validations": [_validation(rule) for rule in policy.rules],
    }


def _named(expressions: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "expression": expression.strip()} for name, expression in expressions.items()]


def _validation(rule: Rule) -> dict[str, Any]:
    says = {"messageExpression": rule.says} if rule.says else {}
    return {"expression": rule.holds, "message": rule.message, **says}
