"""The realm that people log in to, as code: what Keycloak is brought in line with.

Fields as Keycloak's REST API has them: https://www.keycloak.org/docs-api/latest/rest-api/index.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from primage.contract.addresses import Addresses
from primage.contract.guacamole import CLIENT, GuacamoleConfig
from primage.contract.login import (
    AUTHORIZER_CLIENT,
    GROUPS_CLAIM,
    IDENTITY_CLAIM,
    KUBECTL_CLIENT,
    LOGGED_IN,
    LOGIN_ENDED,
    PORTAL_CLIENT,
    SESSIONS_CLIENT,
    UID_ATTRIBUTE,
    InstitutionConfig,
    LoginConfig,
    PortalConfig,
)

Representation = dict[str, Any]
TOKEN_S = 600
"""A stolen token is good for no longer. Kubernetes' client for Python gets another one five minutes before the end: shorter ones
would be got for every request."""
SESSIONS_TOKEN_S = 60
"""Of the login proxies before sessions, which ask for another one before its end: whoever has logged out is let in no longer."""
SESSION_IDLE_S, SESSION_S = 8 * 3600, 24 * 3600
"""How long a login lasts when no token is asked for, and at most."""
AUTHORIZER_RIGHTS = ("manage-realm", "manage-clients", "manage-identity-providers", "manage-users", "view-events")
LOOPBACK = "http://127.0.0.1/callback"
"""Where command lines wait for the answer of a login, at any port: https://www.rfc-editor.org/rfc/rfc8252#section-7.3"""
SECRET_VARIABLE = "PRIMAGE_AUTHORIZER_SECRET"  # noqa: S105  # the name of a variable
PERSONAL_NAMES = ("firstName", "lastName")


def first_import(login: LoginConfig) -> Representation:
    """What Keycloak reads when it has no such realm yet: as much of it as the authorizer needs to do the rest."""
    client = {
        "clientId": AUTHORIZER_CLIENT,
        "secret": f"${{{SECRET_VARIABLE}}}",
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "publicClient": False,
        "fullScopeAllowed": True,
    }
    account = {
        "username": f"service-account-{AUTHORIZER_CLIENT}",
        "enabled": True,
        "serviceAccountClientId": AUTHORIZER_CLIENT,
        "clientRoles": {"realm-management": list(AUTHORIZER_RIGHTS)},
    }
    return {"realm": login.realm, **realm(), "clients": [client], "users": [account]}


def first_import_played(login: LoginConfig, institution: InstitutionConfig) -> Representation:
    """A realm that plays an institution: as a university has it, with accounts of its own and one client, which is this site."""
    client = {
        "clientId": institution.client,
        "secret": f"${{{played_variable(institution)}}}",
        "publicClient": False,
        "standardFlowEnabled": True,
        "directAccessGrantsEnabled": False,
        "redirectUris": [f"{login.issuer}/broker/{institution.name}/endpoint"],
    }
    return {
        "realm": institution.realm,
        "enabled": True,
        "displayName": institution.title or institution.name,
        "sslRequired": "all",
        "bruteForceProtected": True,
        "clients": [client],
    }


def played_variable(institution: InstitutionConfig) -> str:
    """The variable by which Keycloak is told the client's secret of an institution that is played."""
    return f"PRIMAGE_SECRET_OF_{institution.name.upper().replace('-', '_')}"


def realm() -> Representation:
    """The realm's own settings."""
    return {
        "enabled": True,
        "displayName": "primage",
        "sslRequired": "all",
        # People come by their institution or by an administrator, never by themselves, and are who they were.
        "registrationAllowed": False,
        "editUsernameAllowed": False,
        "loginWithEmailAllowed": False,
        "duplicateEmailsAllowed": True,
        "resetPasswordAllowed": False,
        "rememberMe": False,
        "accessTokenLifespan": TOKEN_S,
        "ssoSessionIdleTimeout": SESSION_IDLE_S,
        "ssoSessionMaxLifespan": SESSION_S,
        # Nor are there logins that outlast a session.
        "offlineSessionMaxLifespanEnabled": True,
        "offlineSessionMaxLifespan": SESSION_S,
        "offlineSessionIdleTimeout": SESSION_IDLE_S,
        # A token to refresh with is good once: who uses a copy ends the session of both.
        "revokeRefreshToken": True,
        "refreshTokenMaxReuse": 0,
        "bruteForceProtected": True,
        "failureFactor": 10,
        "maxFailureWaitSeconds": 900,
        "passwordPolicy": "length(12) and notUsername",
        "eventsEnabled": True,
        "eventsExpiration": 30 * 24 * 3600,
        "enabledEventTypes": ["LOGIN", "LOGIN_ERROR", "LOGOUT", "REFRESH_TOKEN_ERROR", "CODE_TO_TOKEN_ERROR"],
        "adminEventsEnabled": True,
        "adminEventsDetailsEnabled": False,
    }


def profile() -> Representation:
    """What an account has, and who may change it: nobody their own name or number."""
    people, administrators = ["admin", "user"], ["admin"]

    def attribute(name: str, says: str, edit: list[str], **more: Any) -> Representation:
        return {"name": name, "displayName": says, "permissions": {"view": people, "edit": edit}, "multivalued": False, **more}

    uid = {"integer": {"min": "1000", "max": "2000000000"}}
    return {
        "unmanagedAttributePolicy": None,
        "attributes": [
            attribute("username", "${username}", administrators, validations={"length": {"min": 3, "max": 200}}),
            attribute("email", "${email}", administrators, validations={"email": {}, "length": {"max": 255}}),
            *(attribute(name, f"${{{name}}}", people, validations={"length": {"max": 255}}) for name in PERSONAL_NAMES),
            attribute(UID_ATTRIBUTE, "POSIX user", administrators, validations=uid),
        ],
    }


def command_line() -> Representation:
    """The client that `primage login` logs in by."""
    return {
        **_client(KUBECTL_CLIENT, "Command lines: primage and kubectl", LOOPBACK),
        "publicClient": True,
        "attributes": {**_PKCE, "oauth2.device.authorization.grant.enabled": "true"},
    }


def portal(config: PortalConfig, secret: str) -> Representation:
    """The client that the portal logs people in by."""
    return {
        **_client(PORTAL_CLIENT, "The portal", f"{config.url}{LOGGED_IN}"),
        "publicClient": False,
        "secret": secret,
        "attributes": {
            **_PKCE,
            # Whoever logs out elsewhere, or is logged out, is so at the portal too: it is told by which login.
            "backchannel.logout.url": f"{config.url}{LOGIN_ENDED}",
            "backchannel.logout.session.required": "true",
        },
    }


def sessions(gateway: Addresses, namespaces: Iterable[str]) -> Representation:
    """The client that login proxies before sessions log people in by: each sends them back to its own tenant's host alone.

    A proxy is in its tenant's hands, so a token says no more of a visitor than who they are and which groups they are in.

    Args:
        namespaces: of all tenants; a redirect to any other host is refused.
    """
    return {
        **_client(SESSIONS_CLIENT, "Sessions in a browser", ""),
        "redirectUris": sorted(f"{gateway.logs_in(namespace)}*" for namespace in namespaces),
        "publicClient": True,
        "defaultClientScopes": ["basic"],
        "optionalClientScopes": [],
        "attributes": {**_PKCE, "access.token.lifespan": str(SESSIONS_TOKEN_S)},
    }


def guacamole(config: GuacamoleConfig) -> Representation:
    """The client that Guacamole logs people in by.

    It knows the implicit flow alone, so the token is in the address that a browser is sent back to: it goes to that one place, and
    opens nothing else.
    """
    return {
        **_client(CLIENT, "Guacamole", config.redirect),
        "standardFlowEnabled": False,
        "implicitFlowEnabled": True,
        "publicClient": True,
        "defaultClientScopes": ["basic"],
        "optionalClientScopes": [],
    }


_PKCE = {"pkce.code.challenge.method": "S256"}


def _client(client: str, name: str, redirect: str) -> Representation:
    return {
        "clientId": client,
        "name": name,
        "enabled": True,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        # Its tokens open nothing but what their audience opens.
        "fullScopeAllowed": False,
        "redirectUris": [redirect],
        "webOrigins": [],
    }


def vault_key(institution: InstitutionConfig) -> str:
    """The name under which Keycloak's vault has an institution's secret: https://www.keycloak.org/server/vault"""
    return f"institution-{institution.name}"


def provider(institution: InstitutionConfig, found: Representation) -> Representation:
    """An institution as a provider that the realm brokers.

    Args:
        found: what Keycloak has read at the institution: where its pages and its keys are.
    """
    config = {
        **found,
        "issuer": institution.issuer,
        "clientId": institution.client,
        "clientSecret": f"${{vault.{vault_key(institution)}}}",
        "clientAuthMethod": "client_secret_basic",
        "defaultScope": institution.scopes,
        "validateSignature": "true",
        "useJwksUrl": "true",
        "pkceEnabled": "true",
        "pkceMethod": "S256",
        "syncMode": "IMPORT",
    }
    return {
        "alias": institution.name,
        "displayName": institution.title or institution.name,
        "providerId": "oidc",
        "enabled": True,
        "trustEmail": False,
        "storeToken": False,
        "linkOnly": False,
        "config": config,
    }


def naming(institution: InstitutionConfig) -> Representation:
    """How somebody of an institution is called: whatever it says, in its own domain."""
    return {
        "name": "identity",
        "identityProviderAlias": institution.name,
        "identityProviderMapper": "oidc-username-idp-mapper",
        "config": {
            "template": f"${{CLAIM.{institution.claim} | localpart}}@{institution.domain}",
            "target": "LOCAL",
            "syncMode": "IMPORT",
        },
    }


def mappers(client: str) -> list[Representation]:
    """What tokens of a client say beside who somebody is: the groups, by their whole path; of the portal's, that they are for the
    API server as well. Those of sessions say who somebody is by this alone."""
    config = {
        "full.path": "true",
        "claim.name": GROUPS_CLAIM,
        "id.token.claim": "true",
        "access.token.claim": "false",
        "userinfo.token.claim": "false",
    }
    groups = _mapper(GROUPS_CLAIM, "oidc-group-membership-mapper", config)
    audience = {"included.client.audience": KUBECTL_CLIENT, "id.token.claim": "true", "access.token.claim": "false"}
    if client == PORTAL_CLIENT:
        return [groups, _mapper("api-server", "oidc-audience-mapper", audience)]
    return [groups, _mapper("identity", "oidc-usermodel-attribute-mapper", _IDENTITY)] if client in WHO_ALONE else [groups]


WHO_ALONE = (SESSIONS_CLIENT, CLIENT)
"""Clients that no profile goes to: their tokens say the name by a mapper of their own."""
_IDENTITY = {
    "user.attribute": "username",
    "claim.name": IDENTITY_CLAIM,
    "jsonType.label": "String",
    "id.token.claim": "true",
    "access.token.claim": "false",
    "userinfo.token.claim": "false",
}


def _mapper(name: str, kind: str, config: dict[str, str]) -> Representation:
    return {"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config}
