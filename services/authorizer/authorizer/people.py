"""Members as the identity provider names them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from authorizer.clients.current_provider import CurrentProvider
from authorizer.clients.keycloak import Keycloak
from authorizer.clients.kube import Kube
from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import MEMBER, ORGANISATION, Address, address_of
from authorizer.domain.people import Account, Difference, compare
from authorizer.tenants import Tenants
from primage.contract import names
from primage.contract.custom_resources import organisation_of
from primage.contract.tenant_objects.objects import Object

COMPARISON = "the regular comparison"
NEWS_S, COMPARE_S = 1.0, 120.0
"""Between two questions whether there is anything new; between two comparisons of everything, whether there is or not."""
AT_ONCE = 4
"""People who are written side by side: for most the provider is asked something too."""
log = logging.getLogger("authorizer")


class People:
    """Writes Members; the rest is that of any Member (custom_resources.py).

    Args:
        folder: with the secret for the identity provider.
        compare_s: seconds between two comparisons of everything.
    """

    def __init__(self, kube: Kube, tenants: Tenants, folder: Path, compare_s: float = COMPARE_S) -> None:
        self._kube = kube
        self._tenants = tenants
        self._current = CurrentProvider(folder)
        self._compare_s = compare_s
        self._seen_at = COMPARISON
        self._said: set[str] = set()
        self._in_line: tuple[Keycloak, set[str], set[str]] | None = None
        self._in_line_until = 0.0
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def follow(self) -> None:
        """Compare once, and then wait until there is something new, or for a while; nothing where nobody logs in."""
        loop, provider = asyncio.get_running_loop(), self._provider()
        begun = loop.time()
        if provider:
            self._seen_at = await provider.news() or self._seen_at
            self._say(await self._compare(provider))
            self._seen_at = COMPARISON
            # As long as it took: people who log in all the time must not keep the provider busy with this alone.
            await asyncio.sleep(loop.time() - begun)
        end, known = loop.time() + self._compare_s, self._known()
        while loop.time() < end and provider is self._provider() and known == self._known():
            await asyncio.sleep(NEWS_S)
            if provider and (news := await provider.news()):
                self._seen_at = news
                return

    def _known(self) -> set[str]:
        """Who is a tenant by now: the provider is told of another one at once."""
        return {tenant.namespace for tenant in self._tenants}

    def _provider(self) -> Keycloak | None:
        return self._current.of(self._tenants.offer.login)

    async def _compare(self, provider: Keycloak) -> list[str]:
        """Bring Members in line with the provider; returns what is wrong, of which nothing keeps anything else waiting."""
        vos = [organisation_of(obj).name for obj in await self._kube.list(ORGANISATION)]
        problems = await self._bring_in_line(provider, vos)
        found = await self._difference(provider, vos)
        lost: set[Address] = {address_of(obj) for obj in found.members if not obj["spec"]["roles"]}
        if lost:
            # Lists come in pages, and who is moved from one to another meanwhile would be missed: nobody is who is missed twice.
            found = await self._difference(provider, vos)
        leavers = [obj for obj in found.members if not obj["spec"]["roles"]]
        # First: what somebody lost must not wait for anything else.
        problems += await self._write([obj for obj in leavers if address_of(obj) in lost])
        problems += await self._welcome(provider, found)
        return [*problems, *found.problems]

    async def _difference(self, provider: Keycloak, vos: list[str]) -> Difference:
        members = await self._kube.list(MEMBER, namespace="*")
        accounts, unknown = await provider.accounts(vos)
        found = compare(accounts, members, [vo for vo in vos if vo not in unknown])
        found.problems.extend(f"the identity provider has no group /{vo}" for vo in unknown)
        return found

    async def _bring_in_line(self, provider: Keycloak, vos: list[str]) -> list[str]:
        """The provider's own settings, from time to time and whenever the site serves another VO or has another tenant."""
        now = asyncio.get_running_loop().time()
        wanted = provider, set(vos), await self._with_sessions(vos)
        if self._in_line == wanted and now < self._in_line_until:
            return []
        try:
            await provider.bring_in_line(vos, wanted[2])
        except WaitingError as error:
            return [str(error)]
        self._in_line, self._in_line_until = wanted, now + self._compare_s
        return []

    async def _with_sessions(self, vos: list[str]) -> set[str]:
        """The namespaces of all tenants, whose sessions people log in to, by the API server: few are known here at first."""
        members = await self._kube.list(MEMBER, namespace="*")
        return {names.namespace_for(name) for name in (*vos, *(obj["spec"]["identity"] for obj in members))}

    async def _welcome(self, provider: Keycloak, found: Difference) -> list[str]:
        """Write who has roles, several side by side, each as soon as the provider keeps their number."""
        numbers = {account.identity: (account, uid) for account, uid in found.uids}
        theirs: dict[str, list[Object]] = {identity: [] for identity in numbers}
        for obj in found.members:
            if obj["spec"]["roles"]:
                theirs.setdefault(obj["spec"]["identity"], []).append(obj)
        told = await asyncio.gather(*(self._admit(provider, numbers.get(one), members) for one, members in theirs.items()))
        return [problem for problems in told for problem in problems]

    async def _admit(self, provider: Keycloak, number: tuple[Account, int] | None, members: list[Object]) -> list[str]:
        """Write one person's Members, once the provider keeps the number that they get."""
        async with self._turn:
            if number:
                try:
                    await provider.keep_uid(*number)
                except (RefusedError, WaitingError) as error:
                    return [f"{number[0].identity}: {error}"]
            return await self._write(members)

    async def _write(self, members: list[Object]) -> list[str]:
        problems = []
        for obj in members:
            spec = obj["spec"]
            try:
                await self._kube.apply(self._with_reason(obj))
            except (RefusedError, WaitingError) as error:
                problems.append(f"{spec['identity']}: {error}")
                continue
            log.info("%s: %s", spec["identity"], ", ".join(spec["roles"]) or "no role any more")
        return problems

    def _with_reason(self, obj: Object) -> Object:
        """The Member, with what it was that showed how it is now."""
        metadata = obj["metadata"]
        why = f"{metadata['annotations'][names.ANNOTATION_WHY]}; seen at {self._seen_at}"
        return {**obj, "metadata": {**metadata, "annotations": {**metadata["annotations"], names.ANNOTATION_WHY: why}}}

    def _say(self, problems: list[str]) -> None:
        for problem in sorted(set(problems) - self._said):
            log.error("%s", problem)
        self._said = set(problems)
