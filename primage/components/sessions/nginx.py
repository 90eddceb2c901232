"""NGINX as a session serves it: a folder's files, for whoever has the token, until nobody asks any more."""

from __future__ import annotations

from primage.components.sessions.session import TOKEN_FILE, Serving
from primage.components.sessions.session_settings import WebSettings

PORT = 8080
CONFIGURATION = r"""
pid /tmp/nginx.pid;
error_log stderr warn;
worker_processes 1;
events { worker_connections 256; }
http {
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  charset utf-8;
  sendfile on;
  server_tokens off;
  log_format mark '';
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  include /tmp/token.conf;
  map $request_uri $page { "~^(?<path>[^?]*)" $path; }
  server {
    listen 127.0.0.1:8080;
    root /tmp/folder;
    # The port a browser knows is the forward's, not this one.
    absolute_redirect off;
    access_log /tmp/used mark;
    autoindex on;
    disable_symlinks on from=/tmp/folder;
    add_header X-Content-Type-Options nosniff always;
    add_header X-Frame-Options DENY always;
    add_header Referrer-Policy no-referrer always;
    location / {
      limit_except GET { deny all; }
      if ($offered) {
        add_header Set-Cookie $granted;
        add_header Referrer-Policy no-referrer;
        return 302 $page;
      }
      if ($known = 0) { return 403; }
    }
  }
}
"""
"""Of NGINX; what differs from session to session is in /tmp/token.conf and behind /tmp/folder."""
SCRIPT = r"""
set -eu
umask 077
cd /tmp
[ -d "$MOUNT_POINT/$FOLDER" ] || { echo "there is no folder $FOLDER below $MOUNT_POINT" >&2; exit 1; }
ln -sfn "$MOUNT_POINT/$FOLDER" folder
# Written by the shell itself: no program is started with the token among its arguments.
token=$(cat "$TOKEN_FILE")
printf 'map $arg_token $offered { default 0; "%s" 1; }\n' "$token" > token.conf
printf 'map $cookie_%s $known { default 0; "%s" 1; }\n' "$COOKIE" "$token" >> token.conf
printf 'map $offered $granted { default "%s=%s; Path=/; HttpOnly; SameSite=Strict"; }\n' "$COOKIE" "$token" >> token.conf
cat > nginx.conf <<'END'
CONFIGURATION
END
: > used
nginx -c /tmp/nginx.conf -g 'daemon off;' &
server=$!
# Something outside ended it; it did not end by itself. The Job then starts it again.
trap 'kill -QUIT $server; wait $server; exit 143' TERM
while sleep "$LOOK_EVERY" & wait $!; do
  kill -0 $server 2> /dev/null || { wait $server; exit 1; }
  idle=$(($(date +%s) - $(stat -c %Y used)))
  if [ "$idle" -ge "$IDLE_SECONDS" ]; then
    echo "nobody has asked for anything for $idle s"
    kill -QUIT $server
    wait $server
    exit 0
  fi
done
"""


def nginx(settings: WebSettings) -> Serving:
    """The folder's files on the loopback; a first request with `?token=` is given a cookie instead."""
    return Serving(
        command=("/bin/sh", "-c", SCRIPT.replace("CONFIGURATION", CONFIGURATION.strip())),
        env={
            "FOLDER": settings.folder,
            "TOKEN_FILE": TOKEN_FILE,
            # Browsers keep cookies by host, not by port: two sessions opened side by side need two.
            "COOKIE": f"primage_{settings.name.replace('-', '_')}",
            "IDLE_SECONDS": str(settings.idle_seconds),
            "LOOK_EVERY": str(max(1, min(30, settings.idle_seconds // 4))),
        },
        probe=("/bin/sh", "-c", "test -s /tmp/nginx.pid"),
        port=PORT,
        path="/",
    )
