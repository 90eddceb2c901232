"""NGINX as sessions serve with it, for whoever has logged in or has the token; and a folder's files, until nobody asks any more."""

from __future__ import annotations

from primage.components.sessions.session import WRONG_SETTINGS, Serving
from primage.components.sessions.session_settings import FolderSessionSettings, WebSettings

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
  include /tmp/known.conf;
  map $request_uri $page { "~^(?<path>[^?]*)" $path; }
  server {
    listen 127.0.0.1:8080;
    root /tmp/root;
    # The port a browser knows is the forward's, not this one.
    absolute_redirect off;
    add_header X-Content-Type-Options nosniff always;
    add_header X-Frame-Options DENY always;
    add_header Referrer-Policy no-referrer always;
    location / { return 404; }
SERVER
  }
}
"""
"""Of NGINX; what differs from session to session is in /tmp/known.conf, below /tmp/root, and BASE_PATH."""
LET_IN = """
      if ($offered) {
        add_header Set-Cookie $granted;
        add_header Referrer-Policy no-referrer;
        return 302 $page;
      }
      if ($known = 0) { return 403; }
"""
"""In a location: whoever offers the token gets a cookie in its place, and who has that gets in."""
PREPARE = r"""
set -eu
umask 077
cd /tmp
[ -d "$MOUNT_POINT/$FOLDER" ] || { echo "there is no folder $FOLDER below $MOUNT_POINT" >&2; exit WRONG_SETTINGS; }
mkdir -p root
if [ -n "$PRIMAGE_TOKEN_FILE" ]; then
  # Written by the shell itself: no program is started with the token among its arguments.
  token=$(cat "$PRIMAGE_TOKEN_FILE")
  printf 'map $arg_token $offered { default 0; "%s" 1; }\n' "$token"
  printf 'map $cookie_%s $known { default 0; "%s" 1; }\n' "$COOKIE" "$token"
  printf 'map $offered $granted { default "%s=%s; Path=%s; HttpOnly; SameSite=Strict"; }\n' "$COOKIE" "$token" "$PRIMAGE_BASE_PATH"
else
  echo 'map "" $offered { default 0; } map "" $granted { default ""; } map "" $known { default 1; }'
fi > known.conf
sed "s|BASE_PATH|$PRIMAGE_BASE_PATH|g" > nginx.conf <<'END'
CONFIGURATION
END
"""
FILES = r"""
    access_log /tmp/used mark;
    autoindex on;
    disable_symlinks on from=$linked;
    add_header Content-Security-Policy $scripts always;
    location BASE_PATH {
      limit_except GET { deny all; }
LET_IN
    }
"""
SCRIPT = r"""
PREPARE
ln -sfn "$MOUNT_POINT/$FOLDER" "root${PRIMAGE_BASE_PATH%/}"
# Others write into shared folders, and their pages have one origin with all sessions of this namespace.
kept="form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
[ -n "$PRIMAGE_TOKEN_FILE" ] && scripts= || scripts="script-src 'none'; object-src 'none'; frame-src 'none'; $kept"
printf 'map "" $scripts { default "%s"; }\n' "$scripts" >> known.conf
printf 'map "" $linked { default "/tmp/root%s"; }\n' "${PRIMAGE_BASE_PATH%/}" >> known.conf
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
        command=("/bin/sh", "-c", SCRIPT.replace("PREPARE", prepare(FILES))),
        env={**environment(settings), "LOOK_EVERY": str(max(1, min(30, settings.idle_seconds // 4)))},
        probe=("/bin/sh", "-c", "test -s /tmp/nginx.pid"),
        port=PORT,
        path="",
    )


def prepare(server: str) -> str:
    """The beginning of a session's script: leaves NGINX's configuration in /tmp, or ends where the session's folder is not there.

    Args:
        server: directives of NGINX's one server; in them LET_IN stands for what it says above.
    """
    whole = CONFIGURATION.replace("SERVER", server.strip("\n")).replace("LET_IN", LET_IN.strip("\n"))
    return PREPARE.strip().replace("CONFIGURATION", whole.strip()).replace("WRONG_SETTINGS", str(WRONG_SETTINGS))


def environment(settings: FolderSessionSettings) -> dict[str, str]:
    """What such a script asks for."""
    return {
        "FOLDER": settings.folder,
        # Browsers keep cookies by host, not by port: two sessions opened side by side need two.
        "COOKIE": f"primage_{settings.name.replace('-', '_')}",
        "IDLE_SECONDS": str(settings.idle_seconds),
    }
