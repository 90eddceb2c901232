"""Settings of a site whose images and records others' servers keep: none of the repository's can pull their images."""

DIGEST = "sha256:" + "ab" * 32
FAST = {"kind": "claim", "storage_class": "fast", "size": "50Gi"}
DCM4CHEE = {
    "certificate": "archive",
    "host": "archive.example.org",
    "networks": ["10.89.77.0/24"],
    "server": {
        "kind": "dcm4chee",
        "image": f"registry.example.org/dcm4che/dcm4chee-arc-psql@{DIGEST}",
        "ldap_image": f"registry.example.org/dcm4che/slapd-dcm4chee@{DIGEST}",
        "database_image": f"registry.example.org/dcm4che/postgres-dcm4chee@{DIGEST}",
        "stores": "archive-stores",
        "index": FAST,
        "images": FAST,
    },
    "shelves": [{"vo": "vo.primage.eu", "title": "PRIMAGE", "node_port": None, "senders": [{"title": "SCANNER"}]}],
}
MONGODB = {
    "certificate": "records",
    "server": {
        "kind": "mongodb",
        "image": f"registry.example.org/mongo@{DIGEST}",
        "kept": FAST,
        "backup": {"kept": {**FAST, "storage_class": "large"}},
    },
}
