"""A replica set of MongoDB with TLS, logins and dumps, for a site that can pull its image: this project has never run it.

What is declared here follows its manual, https://www.mongodb.com/docs/manual/, and its image's, https://hub.docker.com/_/mongo
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from infra.components.kept import claims
from primage.contract import names
from primage.contract.names import CLINICAL_RECORDS
from primage.contract.pod_security import container_security, system_pod_security
from primage.contract.records import DATABASE, PORT, USER, MongoDbConfig, RecordsConfig

UID = 999
"""Of the image's own user, who must be found in its list of users."""
ADMIN, ADMIN_KEY, MEMBERS_KEY = "admin", "admin-password", "members-key"
SECRET_KEYS = (ADMIN_KEY, MEMBERS_KEY)
"""In the Secret: the administrator's password, and what members prove themselves to each other with."""
MEMBER = {names.LABEL_APP: CLINICAL_RECORDS, names.LABEL_COMPONENT: "member"}
"""Labels of the servers, which what runs beside them has not."""
START_S = 300
BACKUP, BEGIN = f"{CLINICAL_RECORDS}-backup", f"{CLINICAL_RECORDS}-begin"

SERVE = """\
set -eu
umask 077
# MongoDB takes no key that its group can read, and a certificate and its key in one file.
cat /passwords/members-key > /tmp/members-key
cat /tls/tls.crt /tls/tls.key > /tmp/server.pem
# The first member has the administrator; the others are empty until it tells them of everything.
case $HOSTNAME in *-0) ;; *) unset MONGO_INITDB_ROOT_USERNAME MONGO_INITDB_ROOT_PASSWORD_FILE ;; esac
exec docker-entrypoint.sh mongod --replSet records --keyFile /tmp/members-key --bind_ip_all --port 27017 \\
  --tlsMode requireTLS --tlsCertificateKeyFile /tmp/server.pem --tlsCAFile /tls/ca.crt --tlsAllowConnectionsWithoutCertificates \\
  --setParameter authenticationMechanisms=SCRAM-SHA-256
"""
BEGUN = """\
const hosts = process.env.HOSTS.split(",");
const password = (key) => require("fs").readFileSync("/passwords/" + key, "utf8");
const login = {tls: true, tlsCAFile: "/tls/ca.crt", auth: {username: "admin", password: password("admin-password")}};
const first = new Mongo("mongodb://" + hosts[0] + "/?directConnection=true", login);
try {
  first.getDB("admin").runCommand({replSetGetStatus: 1});
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  first.getDB("admin").runCommand(
    {replSetInitiate: {_id: "records", members: hosts.map((host, number) => ({_id: number, host}))}});
}
const admin = new Mongo("mongodb://" + hosts.join(",") + "/?replicaSet=records&w=majority", login).getDB("admin");
const roles = [{role: "readWrite", db: process.env.DATABASE}];
const user = {pwd: password("password"), roles, mechanisms: ["SCRAM-SHA-256"]};
admin.getUser(process.env.SERVICE) ? admin.updateUser(process.env.SERVICE, user)
  : admin.createUser({user: process.env.SERVICE, ...user});
"""
DUMP = """\
set -eu
umask 077
printf 'password: "%s"\\n' "$(cat /passwords/admin-password)" > /tmp/dump.yaml
made=/backup/$(date -u +%Y-%m-%dT%H-%M-%SZ).archive.gz
mongodump --config=/tmp/dump.yaml --username=admin --authenticationDatabase=admin --host="records/$HOSTS" \\
  --ssl --sslCAFile=/tls/ca.crt --oplog --gzip --archive="$made.part"
mv "$made.part" "$made"
find /backup -name '*.archive.gz*' -mtime "+$DAYS" -delete
"""


def stateful_set(config: RecordsConfig, own: MongoDbConfig) -> dict[str, Any]:
    """Of its `spec`, what is MongoDB's."""
    asked = {"tcpSocket": {"port": PORT}}
    container = {
        **_container("mongodb", own, SERVE, {}),
        "env": [
            {"name": "MONGO_INITDB_ROOT_USERNAME", "value": ADMIN},
            {"name": "MONGO_INITDB_ROOT_PASSWORD_FILE", "value": f"/passwords/{ADMIN_KEY}"},
        ],
        "ports": [{"name": "mongodb", "containerPort": PORT}],
        "startupProbe": {**asked, "periodSeconds": 2, "failureThreshold": START_S // 2},
        "readinessProbe": {**asked, "periodSeconds": 10},
        "livenessProbe": {**asked, "periodSeconds": 30},
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": own.memory}},
    }
    container["volumeMounts"] = [*container["volumeMounts"], {"name": "records", "mountPath": "/data/db"}]
    apart = {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": MEMBER},
                },
            }
        ]
    }
    pod = {**_pod(config, [container]), "terminationGracePeriodSeconds": 60, "affinity": {"podAntiAffinity": apart}}
    return {
        "replicas": len(config.members),
        # The first cannot be ready before the others are there.
        "podManagementPolicy": "Parallel",
        "template": {"spec": pod},
        **claims(records=own.kept),
    }


def beside(config: RecordsConfig, own: MongoDbConfig) -> list[tuple[str, str, str, dict[str, Any]]]:
    """What is declared after the StatefulSet: version, kind, name and fields of each."""
    hosts = {"HOSTS": ",".join(f"{host}:{PORT}" for host in config.members)}
    service = {**hosts, "DATABASE": DATABASE, "SERVICE": USER}
    begin = {**_pod(config, [_container("begin", own, f"exec mongosh --nodb --quiet --eval '{BEGUN}'", service)])}
    dump = _container("dump", own, DUMP, {**hosts, "DAYS": str(own.backup.days)})
    dump["volumeMounts"] = [*dump["volumeMounts"], {"name": "backup", "mountPath": "/backup"}]
    dumping = _pod(config, [dump])
    dumping["volumes"] = [*dumping["volumes"], {"name": "backup", "persistentVolumeClaim": {"claimName": BACKUP}}]
    size = {"requests": {"storage": own.backup.kept.size}}
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": own.backup.kept.storage_class, "resources": size}
    job = {"backoffLimit": 20, "template": _template(begin)}
    # What a Job is made from cannot be changed: another is another Job.
    digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:10]
    dumped = {"backoffLimit": 2, "template": _template(dumping)}
    schedule = {
        "schedule": own.backup.schedule,
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": dumped},
    }
    return [
        ("v1", "PersistentVolumeClaim", BACKUP, {"spec": claim}),
        ("batch/v1", "Job", f"{BEGIN}-{digest}", {"spec": job}),
        ("batch/v1", "CronJob", BACKUP, {"spec": schedule}),
    ]


def _template(pod: dict[str, Any]) -> dict[str, Any]:
    labels = {names.LABEL_APP: CLINICAL_RECORDS, names.LABEL_COMPONENT: "task"}
    return {"metadata": {"labels": labels}, "spec": {**pod, "restartPolicy": "OnFailure"}}


def _pod(config: RecordsConfig, containers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": system_pod_security(UID),
        "containers": containers,
        "volumes": [
            {"name": "tls", "secret": {"secretName": config.certificate_secret, "defaultMode": 0o440}},
            {"name": "passwords", "secret": {"secretName": CLINICAL_RECORDS, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }


def _container(name: str, own: MongoDbConfig, script: str, environment: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": own.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script],
        # mongosh keeps what it is told in its user's home.
        "env": [{"name": key, "value": value} for key, value in {**environment, "HOME": "/tmp"}.items()],  # noqa: S108
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
            {"name": "passwords", "mountPath": "/passwords", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
