"""Settings of a site that shows machines by Guacamole: none of the repository's can pull its images."""

DIGEST = "sha256:" + "ab" * 32
GUACAMOLE = {
    "url": "https://desktops.example.org",
    "image": f"registry.example.org/guacamole/guacamole@{DIGEST}",
    "guacd_image": f"registry.example.org/guacamole/guacd@{DIGEST}",
    "database": {"host": "db.example.org", "secret": "guacamole-database", "network": "10.20.0.5/32"},
    "way_in": {"namespace": "ingress", "labels": {"app": "proxy"}},
    "machines": ["10.30.0.0/24"],
}
