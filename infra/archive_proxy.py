"""NGINX before the image archive: TLS, and which host leads to whose shelf."""

from __future__ import annotations

from primage.contract.image_archive import WEB_PORT

TLS = "/tls"
MOST_BYTES = "4g"
"""Of one request: a study that is sent by STOW-RS."""
SILENT_S = 300

_WHOLE = """\
pid /tmp/nginx.pid;
error_log stderr warn;
worker_processes 1;
events { worker_connections 512; }
http {
  access_log off;
  server_tokens off;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  ssl_certificate TLS/tls.crt;
  ssl_certificate_key TLS/tls.key;
  ssl_protocols TLSv1.2 TLSv1.3;
  server_names_hash_bucket_size 256;
  client_max_body_size MOST_BYTES;
  # Images go through as they come.
  proxy_request_buffering off;
  proxy_buffering off;
  proxy_http_version 1.1;
  proxy_connect_timeout 10s;
  proxy_read_timeout SILENT_Ss;
  proxy_send_timeout SILENT_Ss;
  server {
    listen PORT ssl default_server;
    return 421;
  }
SERVERS
}
"""
_SERVER = """\
  server {
    listen PORT ssl;
    server_name HOST;
LOCATIONS
  }
"""
LEADS_TO = """\
    location / {
      proxy_set_header Host $http_host;
      proxy_set_header Forwarded "host=$http_host;proto=https";
      proxy_pass http://127.0.0.1:BEHIND;
    }"""


def nginx(servers: dict[str, str]) -> str:
    """Its configuration.

    Args:
        servers: directives of a server, by its host.
    """
    each = "".join(_SERVER.replace("HOST", host).replace("LOCATIONS", locations) for host, locations in servers.items())
    whole = _WHOLE.replace("SERVERS", each.rstrip("\n")).replace("TLS/", f"{TLS}/").replace("MOST_BYTES", MOST_BYTES)
    return whole.replace("PORT", str(WEB_PORT)).replace("SILENT_S", str(SILENT_S))


def leads_to(port: int) -> str:
    """Directives of a server that hands everything on to a port of the pod's loopback."""
    return LEADS_TO.replace("BEHIND", str(port))
