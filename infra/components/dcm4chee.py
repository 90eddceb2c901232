"""DCM4CHEE arc-light for a site that can pull its images: this project has none of them and has never run them.

What is declared here follows its authors' descriptions of the images: https://github.com/dcm4che-dockerfiles/dcm4chee-arc-psql,
https://github.com/dcm4che-dockerfiles/slapd-dcm4chee and https://github.com/dcm4che/dcm4chee-arc-light/wiki
"""

from __future__ import annotations

from typing import Any

from infra.archive_proxy import nginx
from infra.components.door import door
from infra.components.kept import claims
from primage.contract import names
from primage.contract.image_archive import (
    PASSWORD_KEY,
    USER,
    WEB_PATH,
    WEB_PORT,
    Dcm4cheeConfig,
    ImageArchiveConfig,
    ShelfConfig,
    dicom_port_name,
    shelf_host,
)

GROUP = 10010
DICOM, HTTP, LDAP, DATABASE = 2762, 8080, 389, 5432
DATABASE_KEY, LDAP_KEY, LDAP_CONFIG_KEY = "database-password", "ldap-password", "ldap-config-password"
SECRET_KEYS = (DATABASE_KEY, LDAP_KEY, LDAP_CONFIG_KEY)
KEYSTORE, TRUSTSTORE, KEYSTORE_PASSWORD = "keystore.p12", "truststore.p12", "password"  # keys of a Secret
PASSWORDS, STORES, LDIF, TOLD, WEB_LOGIN = "/passwords", "/stores", "shelf.ldif", "/told", "/web-login"
STORAGE = "/storage"
START_S = 600
AS_ROOT = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "NET_BIND_SERVICE"]},
}
"""Its images begin as root, give their folders to users of their own, and become those."""

DEVICE = "dicomDeviceName=dcm4chee-arc,cn=Devices,cn=DICOM Configuration,dc=dcm4che,dc=org"
OTHER_TITLES = ("AS_RECEIVED", "IOCM_EXPIRED", "IOCM_PAT_SAFETY", "IOCM_QUALITY", "IOCM_REGULAR_USE", "IOCM_WRONG_MWL", "WORKLIST")
"""That its first configuration has beside the one that is named."""
CIPHERS = ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")
ASKS = """\
    location PATH/ {
      auth_basic archive;
      auth_basic_user_file /tmp/users;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto https;
      proxy_pass http://127.0.0.1:HTTP/dcm4chee-arc/aets/TITLE/rs/;
    }"""
PROXY = f"""\
set -eu
umask 077
printf '{USER}:{{PLAIN}}%s\\n' "$(cat {WEB_LOGIN}/{PASSWORD_KEY})" > /tmp/users
exec nginx -e stderr -c {TOLD}/nginx.conf -g 'daemon off;'
"""


def told(archive: ImageArchiveConfig) -> dict[str, str]:
    """The config map: what the proxy is told, and what the archive's configuration is changed by when it is first made."""
    (shelf,) = archive.shelves
    asks = ASKS.replace("PATH", WEB_PATH).replace("HTTP/", f"{HTTP}/").replace("TITLE", shelf.title)
    return {"nginx.conf": nginx({shelf_host(shelf.vo): asks}), LDIF: _ldif(shelf)}


def _ldif(shelf: ShelfConfig) -> str:
    """DICOM without TLS on the loopback alone; with it for who has a certificate; the title for who is named.

    https://github.com/dcm4che/dcm4che/tree/master/dcm4che-conf/dcm4che-conf-ldap-schema
    """
    ciphers = [f"dicomTLSCipherSuite: {cipher}" for cipher in CIPHERS]
    senders = {
        shelf.title: [sender.title for sender in shelf.senders] or ["NOBODY"],
        **{title: ["NOBODY"] for title in OTHER_TITLES},
    }
    changes = {
        f"cn=dicom,{DEVICE}": ["replace: dcmBindAddress", "dcmBindAddress: 127.0.0.1"],
        f"cn=dicom-tls,{DEVICE}": [
            *("replace: dicomTLSCipherSuite", *ciphers, "-"),
            *("replace: dcmTLSProtocol", "dcmTLSProtocol: TLSv1.2", "-"),
            *("replace: dcmTLSNeedClientAuth", "dcmTLSNeedClientAuth: TRUE"),
        ],
        **{
            f"dicomAETitle={title},{DEVICE}": [
                "replace: dcmAcceptedCallingAETitle",
                *(f"dcmAcceptedCallingAETitle: {one}" for one in whom),
            ]
            for title, whom in senders.items()
        },
    }
    return "\n\n".join("\n".join([f"dn: {dn}", "changetype: modify", *lines]) for dn, lines in changes.items()) + "\n"


def volume_claims(own: Dcm4cheeConfig) -> dict[str, Any]:
    """Of the StatefulSet."""
    return claims(index=own.index, images=own.images)


def pod(archive: ImageArchiveConfig, own: Dcm4cheeConfig) -> dict[str, Any]:
    """The pod's `spec`."""
    (shelf,) = archive.shelves
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"fsGroup": GROUP, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [_ldap(shelf, own), _database(own)],
        "containers": [_proxy(own), _archive(shelf, own)],
        "volumes": [
            {"name": "tls", "secret": {"secretName": archive.certificate_secret, "defaultMode": 0o440}},
            {"name": "stores", "secret": {"secretName": own.stores, "defaultMode": 0o440}},
            {"name": "passwords", "secret": {"secretName": names.IMAGE_ARCHIVE, "defaultMode": 0o440}},
            {"name": "web-login", "secret": {"secretName": shelf.secret, "defaultMode": 0o440}},
            {"name": "told", "configMap": {"name": names.IMAGE_ARCHIVE}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
            {"name": "wildfly", "emptyDir": {"sizeLimit": "4Gi"}},
        ],
    }


def _sidecar(
    name: str, image: str, port: int, memory: str, environment: dict[str, str], mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "startupProbe": {"tcpSocket": {"port": port}, "periodSeconds": 2, "failureThreshold": START_S // 2},
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": memory}},
        "securityContext": AS_ROOT,
        "volumeMounts": [{"name": "passwords", "mountPath": PASSWORDS, "readOnly": True}, *mounts],
    }


def _ldap(shelf: ShelfConfig, own: Dcm4cheeConfig) -> dict[str, Any]:
    environment = {
        "LDAP_URLS": f"ldap://127.0.0.1:{LDAP}/",
        "LDAP_ROOTPASS_FILE": f"{PASSWORDS}/{LDAP_KEY}",
        "LDAP_CONFIGPASS_FILE": f"{PASSWORDS}/{LDAP_CONFIG_KEY}",
        "AE_TITLE": shelf.title,
        "ARCHIVE_HOST": shelf_host(shelf.vo),
        "DICOM_TLS_PORT": str(DICOM),
        "STORAGE_DIR": f"{STORAGE}/fs1",
        "IMPORT_LDIF": f"{TOLD}/{LDIF}",
    }
    mounts: list[dict[str, Any]] = [
        {"name": "index", "mountPath": "/var/lib/openldap/openldap-data", "subPath": "ldap"},
        {"name": "index", "mountPath": "/etc/openldap/slapd.d", "subPath": "slapd.d"},
        {"name": "told", "mountPath": TOLD, "readOnly": True},
    ]
    return _sidecar("ldap", own.ldap_image, LDAP, "512Mi", environment, mounts)


def _database(own: Dcm4cheeConfig) -> dict[str, Any]:
    environment = {
        "POSTGRES_DB": "pacsdb",
        "POSTGRES_USER": "pacs",
        "POSTGRES_PASSWORD_FILE": f"{PASSWORDS}/{DATABASE_KEY}",
        "PGDATA": "/var/lib/postgresql/data/pacs",
    }
    mounts = [{"name": "index", "mountPath": "/var/lib/postgresql/data", "subPath": "postgresql"}]
    return _sidecar("postgresql", own.database_image, DATABASE, "2Gi", environment, mounts)


def _proxy(own: Dcm4cheeConfig) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [
        {"name": "tls", "mountPath": "/tls", "readOnly": True},
        {"name": "told", "mountPath": TOLD, "readOnly": True},
        {"name": "web-login", "mountPath": WEB_LOGIN, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
    ]
    made = door("proxy", own.proxy_image, ["/bin/sh", "-c", PROXY], ("https", WEB_PORT), mounts)
    # The pod's other containers start as root, so it says itself that it does not.
    return {**made, "securityContext": {**made["securityContext"], "runAsNonRoot": True, "runAsUser": GROUP, "runAsGroup": GROUP}}


def _archive(shelf: ShelfConfig, own: Dcm4cheeConfig) -> dict[str, Any]:
    environment = {
        "LDAP_URL": f"ldap://127.0.0.1:{LDAP}",
        "LDAP_ROOTPASS_FILE": f"{PASSWORDS}/{LDAP_KEY}",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_DB": "pacsdb",
        "POSTGRES_USER": "pacs",
        "POSTGRES_PASSWORD_FILE": f"{PASSWORDS}/{DATABASE_KEY}",
        "KEYSTORE": f"{STORES}/{KEYSTORE}",
        "KEYSTORE_TYPE": "PKCS12",
        "KEYSTORE_PASSWORD_FILE": f"{STORES}/{KEYSTORE_PASSWORD}",
        "TRUSTSTORE": f"{STORES}/{TRUSTSTORE}",
        "TRUSTSTORE_TYPE": "PKCS12",
        "TRUSTSTORE_PASSWORD_FILE": f"{STORES}/{KEYSTORE_PASSWORD}",
        # The proxy has this port.
        "HTTPS_PORT": "8444",
        "HTTP_PROXY_ADDRESS_FORWARDING": "true",
        "WILDFLY_DEPLOY_UI": "false",
        "WILDFLY_CHOWN": f"{STORAGE} /opt/wildfly/standalone",
        "WILDFLY_WAIT_FOR": f"127.0.0.1:{LDAP} 127.0.0.1:{DATABASE}",
    }
    mounts: list[dict[str, Any]] = [
        {"name": "stores", "mountPath": STORES, "readOnly": True},
        {"name": "images", "mountPath": STORAGE},
        {"name": "wildfly", "mountPath": "/opt/wildfly/standalone"},
    ]
    found = _sidecar("archive", own.image, DICOM, own.memory, environment, mounts)
    del found["restartPolicy"]
    asked = {"tcpSocket": {"port": DICOM}}
    listening = [{"name": dicom_port_name(shelf.vo), "containerPort": DICOM}]
    return {
        **found,
        "ports": listening,
        "readinessProbe": {**asked, "periodSeconds": 10},
        "livenessProbe": {**asked, "periodSeconds": 60},
    }
