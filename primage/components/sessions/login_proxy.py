"""The login before a session: in its pod, a proxy that lets in whom the identity provider names.

https://oauth2-proxy.github.io/oauth2-proxy/configuration/overview
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from primage.components.sessions import login_memory
from primage.components.sessions.session_token import CERTIFICATE, KEY
from primage.components.sessions.sidecar import sidecar
from primage.contract import names
from primage.contract.addresses import LOGIN_PAGES
from primage.contract.gateway import COOKIE_SECRET, GATEWAY, LISTENER, LOGIN_CONTAINER, PROXY_PORT
from primage.contract.login import GROUPS_CLAIM, IDENTITY_CLAIM, SESSIONS_CLIENT
from primage.contract.outputs import GatewayOutputs
from primage.contract.realm import SESSION_S, SESSIONS_TOKEN_S

REFRESH_S = SESSIONS_TOKEN_S - 15
"""A login is looked at again after so long, before its token ends."""
START_S = 60
KEYS, KNOWN, ISSUER = "/run/login/keys", "/run/login/known", "/run/login/issuer"
VISITORS, AUTHORITY = "visitors", "ca.crt"  # keys of the config map


@dataclass(frozen=True)
class LoginProxy:
    """One session's.

    Attributes:
        gateway: the site's way in for browsers.
        issuer: whose word says who somebody is.
        memory_image: of Redis, in which the proxy keeps who has logged in.
        namespace, instance: the session's.
        port: of its server, on the loopback.
        visitors: identities that are let in.
        groups: of the identity provider, whose people are let in where no identity is named.
    """

    gateway: GatewayOutputs
    issuer: str
    memory_image: str
    namespace: str
    instance: str
    port: int
    visitors: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def service(self) -> str:
        """Name of its Service, config map, and of what belongs to that."""
        return f"{self.instance}-login"

    @property
    def host(self) -> str:
        """The name that its certificate is for."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def pages(self) -> str:
        """Path that its own pages are below."""
        return f"{LOGIN_PAGES}/{self.instance}"

    def containers(self) -> list[dict[str, Any]]:
        """The proxy, and what it remembers with.

        What the proxy knows of a login is in Redis, because it asks for another token once there, however many requests come at a
        time: the identity provider ends a login whose refresh token it is shown twice. So no browser has any token either.
        """
        return [login_memory.container(self.memory_image), self._proxy()]

    def _proxy(self) -> dict[str, Any]:
        asked = {"httpGet": {"path": "/ping", "port": PROXY_PORT, "scheme": "HTTPS"}, "timeoutSeconds": 5}
        mounts = {"login-keys": KEYS, "login-known": KNOWN, "login-issuer": ISSUER}
        options = [f"--{name}={value}" for name, value in self._options().items()]
        return sidecar(
            LOGIN_CONTAINER,
            self.gateway.proxy_image,
            ("10m", "32Mi"),
            ("200m", "96Mi"),
            args=[*options, *(f"--allowed-group={group}" for group in self.groups)],
            ports=[{"name": "login", "containerPort": PROXY_PORT}],
            startupProbe={**asked, "periodSeconds": 1, "failureThreshold": START_S},
            volumeMounts=[
                *({"name": name, "mountPath": path, "readOnly": True} for name, path in mounts.items()),
                login_memory.mount(),
            ],
        )

    def _options(self) -> dict[str, str]:
        return {
            "https-address": f":{PROXY_PORT}",
            "tls-cert-file": f"{KEYS}/{CERTIFICATE}",
            "tls-key-file": f"{KEYS}/{KEY}",
            "upstream": f"http://127.0.0.1:{self.port}/{self.instance}/",
            "upstream-timeout": "5m",
            **self._of_issuer(),
            **self._of_visitors(),
            **self._of_cookies(),
            # No page of its own asks anything, and none leads elsewhere.
            "skip-provider-button": "true",
            "banner": "-",
            "footer": "-",
            # The server has no use for who it is; its log is its owner's to read.
            "pass-user-headers": "false",
            "pass-basic-auth": "false",
            # A request's line has the code of a login in it.
            "request-logging": "false",
            "silence-ping-logging": "true",
        }

    def _of_issuer(self) -> dict[str, str]:
        """Where it is is known, so that a session starts while it is away."""
        below = f"{self.issuer}/protocol/openid-connect"
        own = {"provider-ca-file": f"{ISSUER}/{AUTHORITY}"} if self.gateway.own_authority else {}
        return {
            "provider": "oidc",
            "oidc-issuer-url": self.issuer,
            "skip-oidc-discovery": "true",
            "login-url": f"{below}/auth",
            "redeem-url": f"{below}/token",
            "oidc-jwks-url": f"{below}/certs",
            **own,
            "client-id": SESSIONS_CLIENT,
            # It has none: https://www.rfc-editor.org/rfc/rfc7636
            "client-secret-file": "/dev/null",
            "code-challenge-method": "S256",
            "insecure-oidc-skip-nonce": "false",
            "scope": "openid",
            "redirect-url": f"{self.gateway.logs_in(self.namespace, self.instance)}/callback",
            "proxy-prefix": self.pages,
        }

    def _of_visitors(self) -> dict[str, str]:
        admitted = {"email-domain": "*"} if self.groups else {"authenticated-emails-file": f"{KNOWN}/{VISITORS}"}
        return {"oidc-email-claim": IDENTITY_CLAIM, "oidc-groups-claim": GROUPS_CLAIM, **admitted}

    def _of_cookies(self) -> dict[str, str]:
        """All tenants' hosts are below one domain: the prefix has browsers take the cookie from this host alone."""
        return {
            "cookie-name": f"__Host-{self.instance}",
            "cookie-secret-file": f"{KEYS}/{COOKIE_SECRET}",
            "cookie-samesite": "lax",
            "cookie-expire": f"{SESSION_S}s",
            "cookie-refresh": f"{REFRESH_S}s",
            "cookie-csrf-per-request": "true",
            "cookie-csrf-per-request-limit": "5",
            "cookie-csrf-expire": "5m",
            "session-store-type": "redis",
            "redis-connection-url": f"unix://{login_memory.SOCKET}",
        }

    def volumes(self, secret: str) -> list[dict[str, Any]]:
        """What only its containers mount.

        Args:
            secret: the session's.
        """
        keys = [{"key": key, "path": key} for key in (COOKIE_SECRET, CERTIFICATE, KEY)]
        issuer = [{"key": names.CONFIG_MAP_AUTHORITY_KEY, "path": AUTHORITY}]
        known = [{"key": VISITORS, "path": VISITORS}]
        return [
            {"name": "login-keys", "secret": {"secretName": secret, "items": keys, "defaultMode": 0o440}},
            {"name": "login-known", "configMap": {"name": self.service, "items": known}},
            {"name": "login-issuer", "configMap": {"name": names.CONFIG_MAP, "items": issuer, "optional": True}},
            login_memory.volume(),
        ]

    def known(self, authority: Any) -> dict[str, Any]:
        """What the config map says: who is let in, and what vouches for the proxy before the gateway."""
        return {VISITORS: "".join(f"{visitor}\n" for visitor in self.visitors), AUTHORITY: authority}

    def route(self) -> dict[str, Any]:
        """The way from the gateway: to the session's pages and to those of the login."""
        port = {"name": self.service, "port": PROXY_PORT}
        return {
            "parentRefs": [{"name": GATEWAY, "namespace": names.SYSTEM_NAMESPACE, "sectionName": LISTENER}],
            "hostnames": [self.gateway.host(self.namespace)],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": path}} for path in (f"/{self.instance}", self.pages)],
                    "backendRefs": [port],
                    # What is open stays open: a kernel's messages, a long download.
                    "timeouts": {"request": "0s"},
                }
            ],
        }

    def trust(self) -> dict[str, Any]:
        """How the gateway knows that it speaks with this proxy."""
        return {
            "targetRefs": [{"group": "", "kind": "Service", "name": self.service}],
            "validation": {
                "hostname": self.host,
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": self.service}],
            },
        }
