"""FerretDB on SQLite, in one pod: https://docs.ferretdb.io/v1.24/"""

from __future__ import annotations

from typing import Any

from infra.components.kept import claims, folders
from primage.contract.names import CLINICAL_RECORDS
from primage.contract.pod_security import container_security, system_pod_security
from primage.contract.records import PASSWORD_KEY, PORT, USER, FerretDbConfig, RecordsConfig

UID = 10009
START_S = 60


def stateful_set(config: RecordsConfig, own: FerretDbConfig) -> dict[str, Any]:
    """Of its `spec`, what is FerretDB's."""
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": system_pod_security(UID),
        "containers": [_container(own)],
        "volumes": [
            {"name": "tls", "secret": {"secretName": config.certificate_secret, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            *folders(records=own.kept),
        ],
    }
    return {"replicas": 1, "template": {"spec": pod}, **claims(records=own.kept)}


def _container(own: FerretDbConfig) -> dict[str, Any]:
    asked = {"tcpSocket": {"port": PORT}}
    password = {"secretKeyRef": {"name": CLINICAL_RECORDS, "key": PASSWORD_KEY}}
    return {
        "name": "ferretdb",
        "image": own.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": "FERRETDB_SETUP_USERNAME", "value": USER},
            {"name": "FERRETDB_SETUP_PASSWORD", "valueFrom": password},
        ],
        "ports": [{"name": "mongodb", "containerPort": PORT}],
        "startupProbe": {**asked, "periodSeconds": 1, "failureThreshold": START_S},
        "readinessProbe": {**asked, "periodSeconds": 10},
        "livenessProbe": {**asked, "periodSeconds": 30},
        "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": own.memory}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
            {"name": "records", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
