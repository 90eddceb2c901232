"""Who asks, in CEL: what policies ignore some people's requests by."""

from __future__ import annotations

from primage.contract import names

OPERATOR = """
request.userInfo.username in ['system:apiserver', 'system:kube-controller-manager', 'system:kube-scheduler']
|| request.userInfo.groups.exists(g, g in ['system:masters', 'system:nodes', 'system:serviceaccounts:kube-system'])
|| authorizer.group('').resource('namespaces').namespace(request.namespace).name(request.namespace).check('update').allowed()
"""
"""Whoever may change the namespace could take its labels away, and the policies with them: nothing is gained by binding them."""

FROM_TENANT = {"from-a-tenant": f"!({OPERATOR.strip()})"}

CONNECTOR = f"""
request.userInfo.username.startsWith('system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.HPC_CONNECTOR}-')
&& request.userInfo.?extra[?'authentication.kubernetes.io/pod-name'].hasValue()
"""
"""The pod of a VO's connector, which has rights in the namespaces of that VO alone. It and its account are where no tenant has
rights: none of them may make such a token or a pod of that account, impersonate it, or enter the connector's pod."""
