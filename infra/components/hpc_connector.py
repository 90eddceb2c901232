"""What carries a VO's HPC jobs (services/hpc_connector): one for the VO's own namespace and all of its members'."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pulumi

from infra.components.system_object import single_pod, system_object
from infra.components.token_pod import RUN, token_container, token_pod
from primage.contract import names
from primage.contract.accounts import VO_UID
from primage.contract.egress import TO_NAMES, to_api_servers, to_networks
from primage.contract.hpc import describe
from primage.contract.hpc_centres import HpcBackendConfig
from primage.contract.networks import NetworkConfig
from primage.contract.pod_security import container_security
from primage.contract.probes import ALIVE
from primage.contract.vo import VirtualOrganisationSpec
from primage.contract.volumes import Volume

UID = 10003
SOCKET, PRIVATE = f"{RUN}/home", "/private"
START_S = 180
"""Seconds until it is started again when it has not come to its loops."""
HOME_RIGHTS = ("SETUID", "SETGID")
"""To become the owner of a private folder; there is no way back from that, and no right over any other."""


class HpcConnector(pulumi.ComponentResource):
    """One pod of two containers: one has the token and goes out, the other becomes the owner of files and has no token.

    It is where no tenant has rights: whoever could enter it, or speak in its name, would have the credentials of all members.

    Args:
        centres: those that the VO may use.
        image: with both programs.
        home: the volume with the VO's folders.
    """

    def __init__(
        self,
        vo: VirtualOrganisationSpec,
        centres: Sequence[HpcBackendConfig],
        image: str,
        home: Volume,
        network: NetworkConfig,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        space = names.namespace_for(vo.name)
        super().__init__("primage:site:HpcConnector", space, {}, opts)
        name = names.hpc_connector(space)
        labels = {names.LABEL_APP: names.HPC_CONNECTOR, names.LABEL_INSTANCE: space}
        here = pulumi.ResourceOptions(parent=self)
        declared = partial(system_object, space, labels)
        needed = [
            declared(here, "v1", "ServiceAccount", name, automountServiceAccountToken=False),
            declared(here, "networking.k8s.io/v1", "NetworkPolicy", name, spec=_network_policy(labels, centres, network)),
        ]
        containers = [_connector(vo.name, centres, image), _home(vo, image)]
        pod = token_pod(name, UID, containers, [{"name": "home", **home.whole()}])
        # Two at a time would do no harm, but tell everything twice.
        single_pod(space, labels, pulumi.ResourceOptions(parent=self, depends_on=needed), name, {"labels": labels}, pod)
        self.register_outputs({})


def _network_policy(labels: dict[str, str], centres: Sequence[HpcBackendConfig], network: NetworkConfig) -> dict[str, Any]:
    """The ways to the centres and to the API servers, to DNS where a centre is given by name, and none to the connector."""
    # Of a centre its login node and its REST daemon, and nothing else there.
    egress = [to_api_servers(network), *(to_networks(centre.reached, sorted(centre.ports)) for centre in centres)]
    if any(centre.by_name for centre in centres):
        egress.append(TO_NAMES)
    return {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress", "Egress"], "egress": egress}


def _connector(vo: str, centres: Sequence[HpcBackendConfig], image: str) -> dict[str, Any]:
    environment = {
        "PRIMAGE_VO": vo,
        "PRIMAGE_BACKENDS": describe([centre.for_connector(vo) for centre in centres]),
        "PRIMAGE_HOME": SOCKET,
        "PRIMAGE_ALIVE": ALIVE,
    }
    return token_container(names.HPC_CONNECTOR, image, UID, environment, START_S, "512Mi")


def _home(vo: VirtualOrganisationSpec, image: str) -> dict[str, Any]:
    """Root, with no right of root's but to become somebody else, and nothing but the VO's private folders to be somebody in."""
    return {
        "name": "home",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "hpc_connector.home", SOCKET, PRIVATE, str(VO_UID), str(vo.gid)],
        "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}},
        "securityContext": {
            **container_security(),
            "runAsUser": 0,
            # The VO's private folders are looked into by its group alone.
            "runAsGroup": vo.gid,
            "capabilities": {"drop": ["ALL"], "add": list(HOME_RIGHTS)},
        },
        "volumeMounts": [
            {"name": "run", "mountPath": RUN},
            {"name": "home", "mountPath": PRIVATE, "subPath": f"{vo.name}/private"},
        ],
    }
