"""A VO's folders on the shared volumes, made by a Job: adding a VO or a member to a site's file needs no step by hand."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from typing import Any

import pulumi

from infra import make_folders
from infra.make_folders import Folder
from primage.components.kubernetes_object import KubernetesObject
from primage.contract import names
from primage.contract.pod_security import container_security
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import claims
from primage.contract.vo import VoConfig
from primage.contract.volumes.settings import VolumesConfig

NAME = "folders"
VOLUMES = "/volumes"
PROGRAM = "/program"
RIGHTS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")
"""To give folders away and set their modes; the last keeps the set-group-ID bit of a group that root is not in."""
ROOT = 0
LOOKED_INTO, SHARED = 0o2750, 0o2770
"""The set-group-ID bit keeps what is made inside in the folder's group; nobody outside the group looks in."""


def folders(tenants: Sequence[Tenant]) -> list[Folder]:
    """A VO's folders, each after the one it is in.

    Args:
        tenants: the VO's own namespace, and its members'.
    """
    vo = tenants[0].vo
    of_vo = (
        ("datalake", [vo.name], LOOKED_INTO),
        ("home", [vo.name], LOOKED_INTO),
        ("home", [vo.name, "shared"], SHARED),
        ("home", [vo.name, "private"], LOOKED_INTO),
    )
    return [
        *(Folder(volume, path, ROOT, vo.gid, mode, personal=False) for volume, path, mode in of_vo),
        *(_private(tenant) for tenant in tenants),
    ]


def _private(tenant: Tenant) -> Folder:
    """Of a group of the member's own, as Debian has it: what kubelet makes inside is root's, and theirs only by the group."""
    path = claims.folders(tenant)[names.CLAIM_HOME_PRIVATE].split("/")
    uid, gid = (tenant.user.uid, tenant.user.uid) if tenant.user else (ROOT, tenant.vo.gid)
    return Folder("home", path, uid, gid, SHARED, personal=True)


class Folders(pulumi.ComponentResource):
    """One VO's folders. The Job is called after what it makes, so that more folders are another Job; volumes depend on it.

    Args:
        image: as its pod is given it, so that another digest is another Job.

    Attributes:
        made: the Job.
    """

    made: pulumi.Resource

    def __init__(
        self,
        name: str,
        volumes: VolumesConfig,
        tenants: Sequence[Tenant],
        *,
        image: str,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:Folders", name, {}, opts)
        vo = tenants[0].vo
        data = {
            "make_folders.py": inspect.getsource(make_folders),
            "folders.json": json.dumps([folder._asdict() for folder in folders(tenants)], indent=1),
        }
        roots = {"datalake": volumes.datalake.whole(), "home": volumes.home.whole()}
        digest = hashlib.sha256(json.dumps([data, roots, image], sort_keys=True).encode()).hexdigest()[:10]
        metadata = {"name": f"folders-{digest}", "namespace": namespace, "labels": _labels(vo)}
        here = pulumi.ResourceOptions(parent=self)
        program = KubernetesObject("v1", "ConfigMap", f"{name}-{digest}-program", metadata=metadata, data=data, opts=here)
        self.made = KubernetesObject(
            "batch/v1",
            "Job",
            f"{name}-{digest}",
            metadata={**metadata, "annotations": {"pulumi.com/timeoutSeconds": "240"}},
            spec={
                "backoffLimit": 2,
                # It has said what is wrong, and another try would not help.
                "podFailurePolicy": {
                    "rules": [
                        {
                            "action": "FailJob",
                            "onExitCodes": {"containerName": NAME, "operator": "In", "values": [make_folders.TOLD]},
                        }
                    ]
                },
                "activeDeadlineSeconds": 180,
                "ttlSecondsAfterFinished": 86400,
                "template": {"metadata": {"labels": _labels(vo)}, "spec": _pod(f"folders-{digest}", image, roots)},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[program]),
        )
        self.register_outputs({})


def _labels(vo: VoConfig) -> dict[str, str]:
    return {names.LABEL_APP: NAME, names.LABEL_INSTANCE: names.namespace_for(vo.name)}


def _pod(config_map: str, image: str, roots: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Root, with no more of root's rights than making folders takes, and nothing but the volumes' roots to use them on."""
    amounts = {"cpu": "50m", "memory": "64Mi"}
    security = container_security()
    container = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", f"{PROGRAM}/make_folders.py", VOLUMES, f"{PROGRAM}/folders.json"],
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {**security, "capabilities": {"drop": ["ALL"], "add": list(RIGHTS)}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "program", "mountPath": PROGRAM, "readOnly": True},
            *({"name": name, "mountPath": f"{VOLUMES}/{name}"} for name in roots),
        ],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {"runAsUser": ROOT, "runAsGroup": ROOT, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "program", "configMap": {"name": config_map}},
            *({"name": name, **source} for name, source in roots.items()),
        ],
    }
