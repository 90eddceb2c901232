"""What each Orthanc of the image archive is told: everything that it can do and that nobody here needs is off.

https://orthanc.uclouvain.be/book/users/configuration.html
"""

from __future__ import annotations

from typing import Any

from primage.contract.image_archive import USER, ShelfConfig

TLS, SENDERS, IMAGES, TOLD = "/tls", "/senders", "/images", "/told"
"""Where its container finds certificates, what vouches for senders, the images, and what it is told."""
FILTER = "filter.lua"
PASSWORD, DATABASE_PASSWORD = "PASSWORD", "DATABASE_PASSWORD"  # names of variables
PLUGINS = "/usr/share/orthanc/plugins"
CONNECTIONS = 4
"""Of one shelf to the database."""

REQUESTS = """\
-- What of Orthanc's own interface a service may use beside DICOMweb: look at what there is, and take it away. The rest has servers
-- contact others, and changes what it was told.
local WEB = {"^/dicom%-web/studies", "^/dicom%-web/series", "^/dicom%-web/instances"}
local DELETED = {"^/patients/[%x-]+$", "^/studies/[%x-]+$", "^/series/[%x-]+$", "^/instances/[%x-]+$"}
local READ = {"^/changes$", "^/statistics$", "^/system$", "^/patients", "^/studies", "^/series", "^/instances"}
local ASKED = {"^/tools/lookup$", "^/tools/find$"}

local function among(patterns, uri)
    for _, pattern in ipairs(patterns) do
        if string.find(uri, pattern) then
            return true
        end
    end
    return false
end

function IncomingHttpRequestFilter(method, uri, _, username, _)
    if username ~= "datasets" or string.find(uri, "%.%.") or string.find(uri, "^/dicom%-web/servers") then
        return false
    end
    if among(WEB, uri) then
        return method == "GET" or method == "POST"
    end
    if method == "GET" then
        return among(READ, uri)
    end
    return (method == "POST" and among(ASKED, uri)) or (method == "DELETE" and among(DELETED, uri))
end
"""


def settings(shelf: ShelfConfig, database: str, web_port: int, dicom_port: int) -> dict[str, Any]:
    """Of the process that serves one shelf.

    Args:
        database: its database, the user that gets into it, and the folder of its images.
        web_port, dicom_port: of the pod, where it listens; without senders it does not listen for DICOM.
    """
    return {
        "Name": shelf.vo,
        "StorageDirectory": f"{IMAGES}/{database}",
        "IndexDirectory": "/tmp",  # noqa: S108
        "TemporaryDirectory": "/tmp",  # noqa: S108
        "Plugins": [f"{PLUGINS}/libOrthancDicomWeb.so", f"{PLUGINS}/libOrthancPostgreSQLIndex.so"],
        "LuaScripts": [f"{TOLD}/{FILTER}"],
        "ExecuteLuaEnabled": False,
        "OverwriteInstances": False,
        # What was taken is on the disk.
        "SyncStorageArea": True,
        "StoreMD5ForAttachments": True,
        "SaveJobs": False,
        "MetricsEnabled": False,
        "MaximumStorageCacheSize": 32,
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": False,
            "Host": "127.0.0.1",
            "Port": 5432,
            "Database": database,
            "Username": database,
            "Password": f"${{{DATABASE_PASSWORD}}}",
            "Lock": True,
            "IndexConnectionsCount": CONNECTIONS,
        },
        **_web(web_port),
        **_dicom(shelf, dicom_port),
    }


def _web(port: int) -> dict[str, Any]:
    return {
        "HttpServerEnabled": True,
        "HttpPort": port,
        "HttpThreadsCount": 16,
        # NGINX, which is in the same pod, and nobody else: over TLS it would end with the first connection (ADR 0029).
        "RemoteAccessAllowed": False,
        "SslEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: f"${{{PASSWORD}}}"},
        "OrthancExplorerEnabled": False,
        "WebDavEnabled": False,
        "WebDavUploadAllowed": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }


def _dicom(shelf: ShelfConfig, port: int) -> dict[str, Any]:
    return {
        "DicomServerEnabled": bool(shelf.senders),
        "DicomPort": port,
        "DicomAet": shelf.title,
        "DicomCheckCalledAet": True,
        "StrictAetComparison": True,
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": f"{TLS}/tls.crt",
        "DicomTlsPrivateKey": f"{TLS}/tls.key",
        "DicomTlsTrustedCertificates": f"{SENDERS}/ca.crt",
        "DicomTlsRemoteCertificateRequired": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomAlwaysAllowFind": False,
        "DicomAlwaysAllowFindWorklist": False,
        "DicomAlwaysAllowGet": False,
        "DicomAlwaysAllowMove": False,
        "UnknownSopClassAccepted": False,
        "DicomModalitiesInDatabase": False,
        "OrthancPeersInDatabase": False,
        "DicomModalities": {sender.title: _sender(sender.title, sender.may) for sender in shelf.senders},
    }


def _sender(title: str, may: tuple[str, ...]) -> dict[str, Any]:
    return {
        "AET": title,
        # Nothing is ever sent to it, so where it is does not matter.
        "Host": "127.0.0.1",
        "Port": 104,
        "AllowEcho": True,
        "AllowStore": "store" in may,
        "AllowFind": "find" in may,
        "AllowGet": "get" in may,
        "AllowMove": False,
        "AllowFindWorklist": False,
        "AllowNAction": False,
        "AllowEventReport": False,
        "AllowTranscoding": False,
    }
