"""What is said to the identity provider, Keycloak: https://www.keycloak.org/docs-api/latest/rest-api/index.html"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from keycloak import KeycloakAdmin, KeycloakOpenIDConnection
from keycloak.exceptions import KeycloakError, KeycloakGetError, KeycloakPostError, raise_error_from_response

from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import differs_in_any_order
from authorizer.domain.people import Account, account_of, in_groups, with_role
from primage.contract import realm
from primage.contract.login import (
    AUTHORITY_KEY,
    AUTHORIZER_CLIENT,
    CLIENT_SECRET_KEY,
    PORTAL_SECRET_FILE,
    UID_ATTRIBUTE,
    InstitutionConfig,
    LoginConfig,
)
from primage.contract.roles import Role

TIMEOUT_S = 20
PAGE = 500
NOT_FOUND = 404
PROFILE = ("username", "email", *realm.PERSONAL_NAMES)
"""What an update has to repeat, or it would be taken away."""
CHANGE, LOGIN = "an administrator's change", "a login"
"""What may be new."""
log = logging.getLogger("authorizer.keycloak")


class Keycloak:
    """A connection as the site's authorizer; one that fails is made again.

    Args:
        folder: with the client's secret and, where there is one, the authority that vouches for the server. They are read at each
            connection: an operator may change them.
    """

    def __init__(self, login: LoginConfig, folder: Path) -> None:
        self._login = login
        self._folder = folder
        self._admin: Any = None
        self._latest: dict[str, Any] = {}

    async def bring_in_line(self, vos: Iterable[str], namespaces: Iterable[str]) -> None:
        """Make the realm what it should be, where it is this site's, and a group for each VO and each role in it.

        Accounts, and who is in a group, are never touched here.

        Args:
            namespaces: of all tenants, whose sessions people log in to.

        Raises:
            WaitingError: something of it could not be done; all else has been.
        """
        failed = []
        async with self._asked() as admin:
            for vo in sorted(vos):
                await self._groups(admin, vo)
            if self._login.keycloak:
                await self._realm(admin, namespaces)
                institutions = self._login.keycloak.institutions
                there = {one["alias"]: one for one in await admin.a_get_idps()} if institutions else {}
                for institution in institutions:
                    try:
                        await self._institution(admin, institution, there.get(institution.name))
                    except KeycloakError as error:
                        failed.append(f"institution {institution.name}: {_why(error)}")
        if failed:
            raise WaitingError("; ".join(failed))

    async def _groups(self, admin: Any, vo: str) -> None:
        group = await self._group(admin, f"/{vo}")
        if group is None:
            await admin.a_create_group({"name": vo}, skip_exists=True)
            group = await self._group(admin, f"/{vo}")
        if group is None:
            raise WaitingError(f"group /{vo} was made, and is not there")
        there = await self._children(admin, group)
        for role in Role:
            if role.value not in there:
                await admin.a_create_group({"name": role.value}, parent=group["id"], skip_exists=True)

    async def _realm(self, admin: Any, namespaces: Iterable[str]) -> None:
        if differs_in_any_order(await admin.a_get_realm(self._login.realm), realm.realm()):
            await admin.a_update_realm(self._login.realm, realm.realm())
            log.info("realm %s is brought in line", self._login.realm)
        if differs_in_any_order(await admin.a_get_realm_users_profile(), realm.profile()):
            await admin.a_update_realm_users_profile(realm.profile())
        there = {client["clientId"]: client for client in await admin.a_get_clients()}
        for wanted in self._clients(namespaces):
            await self._client(admin, wanted, there.get(wanted["clientId"]))

    def _clients(self, namespaces: Iterable[str]) -> list[realm.Representation]:
        """Those that people log in by; the portal once it has a secret."""
        found, secret = [realm.command_line()], self._folder / PORTAL_SECRET_FILE
        if self._login.portal and secret.exists():
            found.append(realm.portal(self._login.portal, secret.read_text(encoding="utf-8").strip()))
        if self._login.gateway:
            found.append(realm.sessions(self._login.gateway, namespaces))
        if self._login.guacamole:
            found.append(realm.guacamole(self._login.guacamole))
        return found

    async def _client(self, admin: Any, wanted: realm.Representation, live: Any) -> None:
        """A client, and what its tokens say.

        Args:
            live: as the provider has it; None where it is not there yet.
        """
        said = realm.mappers(wanted["clientId"])
        if live is None:
            await admin.a_create_client({**wanted, "protocolMappers": said})
            return
        if differs_in_any_order(live, wanted):
            await admin.a_update_client(live["id"], wanted)
        mappers = {mapper["name"]: mapper for mapper in live.get("protocolMappers") or []}
        for mapper in said:
            if mapper["name"] not in mappers:
                await admin.a_add_mapper_to_client(live["id"], mapper)
            elif differs_in_any_order(mappers[mapper["name"]], mapper):
                same = mappers[mapper["name"]]["id"]
                await admin.a_update_client_mapper(live["id"], same, {**mapper, "id": same})

    async def _institution(self, admin: Any, institution: InstitutionConfig, live: Any) -> None:
        """One that the settings name; one that an administrator has added is theirs.

        Args:
            live: as the provider has it; None where it is not there yet.
        """
        wanted = realm.provider(institution, {})
        if live is None:
            await admin.a_create_idp(realm.provider(institution, await self._described(admin, institution)))
            log.info("institution %s is brokered", institution.name)
        # What it shows of the secret is not the secret.
        elif differs_in_any_order(live, {**wanted, "config": {**wanted["config"], "clientSecret": live["config"]["clientSecret"]}}):
            whole = realm.provider(institution, await self._described(admin, institution))
            await admin.a_update_idp(institution.name, {**whole, "internalId": live["internalId"]})
        naming = realm.naming(institution)
        mapper = next((one for one in await admin.a_get_idp_mappers(institution.name) if one["name"] == naming["name"]), None)
        if mapper is None:
            await admin.a_add_mapper_to_idp(institution.name, naming)
        elif differs_in_any_order(mapper, naming):
            await admin.a_update_mapper_in_idp(institution.name, mapper["id"], {**naming, "id": mapper["id"]})

    async def _described(self, admin: Any, institution: InstitutionConfig) -> Any:
        """What Keycloak itself reads at an institution: the authorizer reaches nobody else."""
        asked = {"providerId": "oidc", "fromUrl": f"{institution.issuer}/.well-known/openid-configuration"}
        answer = await admin.connection.a_raw_post(
            f"admin/realms/{self._login.realm}/identity-provider/import-config", data=json.dumps(asked)
        )
        return raise_error_from_response(answer, KeycloakPostError)

    async def accounts(self, vos: Iterable[str]) -> tuple[list[Account], list[str]]:
        """Everybody who is in a VO of these, with their roles there; and the VOs that the provider knows nothing of.

        Raises:
            WaitingError: the provider cannot be asked.
        """
        found: dict[str, Account] = {}
        unknown: list[str] = []
        async with self._asked() as admin:
            for vo in vos:
                group = await self._group(admin, f"/{vo}")
                if group is None:
                    unknown.append(vo)
                    continue
                ids = await self._children(admin, group)
                for role in (None, *Role):
                    where = group["id"] if role is None else ids.get(role.value)
                    for user in await self._all(admin, f"groups/{where}/members", briefRepresentation=False) if where else []:
                        if account := self._known(user, found):
                            found[account.id] = with_role(account, vo, role)
        return list(found.values()), unknown

    async def account(self, identity: str) -> Account | None:
        """Whoever has this name, with their roles in every VO of the provider's, be it of this site or not; None for nobody.

        Raises:
            WaitingError: the provider cannot be asked.
        """
        async with self._asked() as admin:
            users = await admin.a_get_users({"username": identity, "exact": True, "max": 2, "first": 0})
            found = (account for user in users if (account := self._known(user, {})) and account.identity == identity)
            if (account := next(found, None)) is None:
                return None
            groups = await self._all(admin, f"users/{account.id}/groups")
        return in_groups(account, [str(group["path"]) for group in groups])

    async def place(self, account: str, vo: str, roles: Collection[Role], *, inside: bool) -> None:
        """Have an account be in exactly these groups of a VO's roles: first those it gets, then those it loses.

        Args:
            account: the provider's own name for it.
            inside: False to take it out of the VO altogether.

        Raises:
            WaitingError: the provider cannot be asked; some of it may have been done.
        """
        async with self._asked() as admin:
            group = await self._group(admin, f"/{vo}")
            ids = await self._children(admin, group) if group else {}
            if missing := [role.value for role in roles if role.value not in ids]:
                raise WaitingError(f"the identity provider has no group /{vo}/{missing[0]} yet")
            for role in sorted(roles):
                await admin.a_group_user_add(account, ids[role.value])
            had = {one["id"] for one in await admin.a_get_user_groups(account)}
            lost = [ids[role.value] for role in Role if role not in roles and ids.get(role.value) in had]
            lost += [group["id"]] if group and not inside and group["id"] in had else []
            for one in lost:
                await admin.a_group_user_remove(account, one)

    async def keep_uid(self, account: Account, uid: int) -> None:
        """Give an account its number.

        Raises:
            RefusedError: it is another account's, or the provider does not take it.
            WaitingError: the provider cannot be asked.
        """
        async with self._asked() as admin:
            if await self._all(admin, "users", q=f"{UID_ATTRIBUTE}:{uid}"):
                raise RefusedError(f"the number {uid}, which it would have, is another account's")
            user = await admin.a_get_user(account.id)
            # What else an account has is administrators': one that is switched off at this moment must stay so.
            kept = {key: user[key] for key in PROFILE if key in user}
            attributes = {**(user.get("attributes") or {}), UID_ATTRIBUTE: [str(uid)]}
            try:
                await admin.a_update_user(account.id, {**kept, "attributes": attributes})
            except KeycloakError as error:
                raise RefusedError(f"the provider does not keep its number: {_why(error)}") from error
        log.info("%s has number %d", account.identity, uid)

    async def news(self) -> str:
        """What has happened since this was asked before: that an administrator has changed something, or else that somebody has
        logged in; empty for nothing."""
        async with self._asked() as admin:
            latest = {
                CHANGE: await admin.a_get_admin_events({"max": 1, "first": 0}),
                LOGIN: await admin.a_get_events({"type": "LOGIN", "max": 1, "first": 0}),
            }
        before, self._latest = self._latest, latest
        return next((what for what in latest if latest[what] != before.get(what)), "")

    def _known(self, user: Any, found: dict[str, Account]) -> Account | None:
        try:
            account = account_of(user)
        except (KeyError, ValueError) as error:
            log.error("account %s of the identity provider cannot be read: %s", user.get("username"), error)
            return None
        return found.get(account.id, account)

    async def _group(self, admin: Any, path: str) -> Any:
        try:
            return await admin.a_get_group_by_path(path)
        except KeycloakError as error:
            if error.response_code == NOT_FOUND:
                return None
            raise

    async def _children(self, admin: Any, group: Any) -> dict[str, str]:
        """The IDs of a group's own groups, by name; all of them, however many somebody has made."""
        return {child["name"]: child["id"] for child in await self._all(admin, f"groups/{group['id']}/children")}

    async def _all(self, admin: Any, path: str, **which: Any) -> list[Any]:
        """A list, from its first page to its last. An answer without one says nothing, and above all not that nobody is there."""
        found: list[Any] = []
        page: Any = None
        while page is None or len(page) == PAGE:
            asked = {"first": len(found), "max": PAGE, **which}
            answer = await admin.connection.a_raw_get(f"admin/realms/{self._login.realm}/{path}", **asked)
            page = raise_error_from_response(answer, KeycloakGetError)
            if not isinstance(page, list):
                raise TypeError(f"{path} is no list, but {str(page)[:100]!r}")
            found += page
        return found

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[Any]:
        """The connection; whatever goes wrong with it is waited for: the answer of anybody may come from its address."""
        try:
            if self._admin is None:
                self._admin = await self._connected()
            yield self._admin
        except (RefusedError, WaitingError):
            raise
        except Exception as error:
            self._admin = None
            raise WaitingError(f"the identity provider {self._login.server} cannot be asked: {_why(error)}") from error

    async def _connected(self) -> Any:
        authority = self._folder / AUTHORITY_KEY
        connection = KeycloakOpenIDConnection(
            server_url=self._login.server,
            realm_name=self._login.realm,
            client_id=AUTHORIZER_CLIENT,
            client_secret_key=(self._folder / CLIENT_SECRET_KEY).read_text(encoding="utf-8").strip(),
            verify=str(authority) if authority.exists() else True,
            timeout=TIMEOUT_S,
        )
        await connection.a_get_token()
        return KeycloakAdmin(connection=connection)


def _why(error: Exception) -> str:
    """The server's words, or what keeps it from being reached."""
    said = getattr(error, "error_message", "")
    return str(error.__cause__ or (said.decode(errors="replace") if isinstance(said, bytes) else said) or error)
