"""A desktop as a session serves it: an X server that speaks VNC, and before it websockify and NGINX with noVNC's pages."""

from __future__ import annotations

from primage.components.sessions.nginx import PORT, environment, prepare
from primage.components.sessions.session import BASE_PATH, TOKEN_FILE, Serving
from primage.components.sessions.session_settings import DesktopSettings

WEBSOCKIFY_PORT = 5901
PAGES = r"""
    access_log off;
    # noVNC takes the server that it shows from its address, which may be somebody else's link.
    add_header Content-Security-Policy "connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'" always;
    location BASE_PATH {
      limit_except GET { deny all; }
LET_IN
    }
    location = BASE_PATH {
LET_IN
      return 302 BASE_PATHvnc.html?autoconnect=true&reconnect=true&resize=RESIZE&path=$socket;
    }
    location = BASE_PATHwebsockify {
      # Whoever has a cookie may be led here by somebody else's page.
      if ($known = 0) { return 403; }
      if ($own_page = 0) { return 403; }
      proxy_pass http://127.0.0.1:WEBSOCKIFY_PORT;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_set_header Host $behind;
      proxy_buffering off;
      proxy_read_timeout 1d;
      proxy_send_timeout 1d;
    }
"""
SCRIPT = r"""
mask=$(umask)
PREPARE
mkdir -p desktop/run desktop/xdg/autostart
mkdir -p -m 1777 .X11-unix .ICE-unix
ln -sfn /usr/share/novnc "root${PRIMAGE_BASE_PATH%/}"
printf 'map "" $socket { default "%swebsockify"; }\n' "${PRIMAGE_BASE_PATH#/}" >> known.conf
# A WebSocket is opened for pages of the very host that it is asked of. NGINX compares no two variables: one follows the other.
[ -n "$PRIMAGE_TOKEN_FILE" ] && scheme=http || scheme=https
page="^$scheme://(?<from>[^ ]+) \\k<from>\$"
printf 'map "$http_origin $http_host" $own_page { default 0; "~%s" 1; }\n' "$page" >> known.conf
# Only NGINX knows what websockify wants to hear: nothing else that reaches the loopback is let in.
behind=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
printf 'map "" $behind { default "%s"; }\n' "$behind" >> known.conf
printf '%s: unix_socket:/tmp/desktop/screen\n' "$behind" > desktop/targets
cd desktop
printf 'primage:x:%s:%s:%s:%s:/bin/bash\n' "$(id -u)" "$(id -g)" primage "$HOME" > passwd
printf '[Desktop Entry]\nType=Application\nName=Files\nExec=thunar "%s"\n' "$MOUNT_POINT/$FOLDER" > xdg/autostart/folder.desktop

session=
leave() {
  trap '' TERM
  # Everything that runs here: programs that somebody has started may save what they have.
  kill -TERM -1 2> /dev/null || true
  [ -z "$session" ] || timeout 5 tail --pid="$session" --sleep-interval=0.1 -f /dev/null || true
  exit "$1"
}
# Something outside ended it; it did not end by itself. The Job then starts it again.
trap 'leave 143' TERM
mkfifo ready
Xvnc "$@" -MaxIdleTime "$IDLE_SECONDS" -displayfd 3 3> ready 2> screen.log & screen=$!
read -r number < ready || { cat screen.log >&2; echo "the X server has not started" >&2; exit 1; }
export DISPLAY=":$number" XDG_RUNTIME_DIR=/tmp/desktop/run XDG_CACHE_HOME=/tmp/desktop/cache ICEAUTHORITY=/tmp/desktop/run/ice
export XDG_CONFIG_DIRS=/tmp/desktop/xdg:/etc/xdg XDG_CURRENT_DESKTOP=XFCE XDG_MENU_PREFIX=xfce-
(umask "$mask"; cd "$MOUNT_POINT/$FOLDER"; exec dbus-run-session -- xfce4-session) > session.log 2>&1 & session=$!
websockify --token-plugin TokenFile --token-source targets --host-token --heartbeat 30 127.0.0.1:WEBSOCKIFY_PORT & proxy=$!
nginx -c /tmp/nginx.conf -g 'daemon off;' & server=$!
code=0
wait -n -p ended "$screen" "$session" "$proxy" "$server" || code=$?
if grep -q 'MaxIdleTime reached' screen.log; then
  echo "nobody has used the mouse or the keyboard for $IDLE_SECONDS s"
  leave 0
fi
case "$ended" in
  "$session")
    if [ "$code" = 0 ]; then echo "somebody has logged out"; leave 0; fi
    tail -n 20 session.log >&2
    name="the desktop's session" ;;
  "$screen") tail -n 20 screen.log >&2; name="the X server" ;;
  "$proxy") name=websockify ;;
  *) name=nginx ;;
esac
echo "$name has ended with status $code" >&2
leave 1
"""
PROBE = r"""
import os, socket, sys
token = os.environ["TOKEN_FILE"]
ask = [
    f"GET {os.environ['BASE_PATH']}websockify HTTP/1.1",
    "Host: probe",
    "Origin: " + ("http://probe" if token else "https://probe"),
    f"Cookie: {os.environ['COOKIE']}={open(token).read() if token else ''}",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: cHJpbWFnZS1wcm9iZS0xNg==",
]
said = b""
with socket.create_connection(("127.0.0.1", 8080), 5) as web:
    web.sendall("\r\n".join([*ask, "", ""]).encode())
    while b"RFB 003.008\n" not in said:
        part = web.recv(4096)
        said += part
        if not part or not said.startswith(b"HTTP/1.1 101"):
            sys.exit(f"no VNC server answers: {said[:200]}")
"""
"""Whether a VNC server says its name through NGINX and websockify."""


def desktop(settings: DesktopSettings) -> Serving:
    """Xfce on a screen of its own, in a browser; it ends when nobody has touched it for long, or somebody has logged out."""
    script = SCRIPT.replace("PREPARE", prepare(PAGES)).replace("WEBSOCKIFY_PORT", str(WEBSOCKIFY_PORT))
    return Serving(
        command=("/bin/bash", "-c", script.replace("RESIZE", "remote" if settings.resize else "scale"), "desktop"),
        args=_screen(settings),
        env=environment(settings),
        probe=("python3", "-c", PROBE.replace("TOKEN_FILE", TOKEN_FILE).replace("BASE_PATH", BASE_PATH)),
        port=PORT,
        path="",
    )


def _screen(settings: DesktopSettings) -> tuple[str, ...]:
    """Options of the X server, https://tigervnc.org/doc/Xvnc.html.

    Nobody is asked for a password: only this container's user reaches the socket, in a folder of its own.
    """
    copying = "1" if settings.clipboard else "0"
    options = {
        "desktop": settings.name,
        "geometry": f"{settings.width}x{settings.height}",
        "depth": "24",
        "rfbport": "-1",
        "rfbunixpath": "/tmp/desktop/screen",  # noqa: S108  # inside the container
        "SecurityTypes": "None",
        # All viewers come by the same socket: one that gives up half-way would have every other shut out.
        "UseBlacklist": "0",
        "AlwaysShared": "1",
        "AcceptSetDesktopSize": "1" if settings.resize else "0",
        "AcceptCutText": copying,
        "SendCutText": copying,
        # Programs on the screen may change the screen's name, and not these.
        "AllowOverride": "desktop",
        # Other containers of a pod would see this kind of socket.
        "nolisten": "local",
    }
    return tuple(part for name, value in options.items() for part in (f"-{name}", value))
