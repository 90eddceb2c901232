"""Whose an object is and whether it is as it should be; what becomes of a tenant when the API server says no."""

import asyncio
import copy
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import NAMESPACE, address_of, differs, owner_of
from authorizer.domain.ownership import require_own
from authorizer.keeper import Keeper
from authorizer.live import LiveObjects
from authorizer.tenants import Tenants
from primage.contract import custom_resources as custom
from primage.contract.custom_resources import Phase
from primage.contract.networks import NetworkConfig
from primage.contract.offer import SiteOffer
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import everything
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec
from primage.contract.volumes import PosixVolume
from primage.contract.volumes.settings import VolumesConfig

VO = VirtualOrganisationSpec(name="vo.example.org", gid=20001, quota=QuotaConfig(cpu="4", memory="8Gi"))
ADA = Tenant(VO, MemberSpec(identity="ada@example.org", uid=40001))
OFFER = SiteOffer(
    labels={"primage.eu/made-by": "site"},
    protect=False,
    mount_point="/primage",
    oneprovider="",
    network=NetworkConfig(),
    volumes=VolumesConfig(datalake=PosixVolume(path="/lake", capacity="1Gi"), home=PosixVolume(path="/home", capacity="1Gi")),
    hpc={},
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_nothing_differs_from_itself(value):
    assert not differs(copy.deepcopy(value), value)


@given(st.dictionaries(st.text(max_size=3), VALUES), st.dictionaries(st.text(max_size=3), VALUES))
def test_what_the_server_adds_is_no_difference(wanted, more):
    assert not differs({**more, **wanted}, wanted)


@pytest.mark.parametrize(
    ("live", "wanted", "so"),
    [
        ({"cpu": "1Gi"}, {"cpu": "1024Mi"}, False),
        ({"cpu": "2"}, {"cpu": "1"}, True),
        ({}, {"data": {"a": ""}}, True),
        ({"data": {}}, {"data": {"a": ""}}, False),
        ({"spec": {"ports": [1]}}, {"spec": {"ports": [1, 2]}}, True),
        ({"spec": {"token": True}}, {"spec": {"token": False}}, True),
    ],
)
def test_differences(live, wanted, so):
    assert differs(live, wanted) is so


def test_every_object_of_a_tenant_has_an_address_and_its_owner():
    for obj in everything(ADA, OFFER):
        assert owner_of(obj) == ADA.namespace
        assert address_of(obj).name == obj["metadata"]["name"]


@pytest.mark.parametrize("labels", [{}, {"primage.eu/made-by": "site", "primage.eu/vo": "other-dot-org"}])
def test_a_namespace_that_is_somebody_elses_is_refused(labels):
    with pytest.raises(RefusedError, match="is there and is not that of ada"):
        require_own({"metadata": {"name": ADA.namespace, "labels": labels}}, ADA)


class Server:
    """An API server that takes everything but kinds that it is told not to."""

    def __init__(self):
        self.there, self.said, self.noted, self.broken, self.versions = {}, [], [], {}, itertools.count(1)

    async def apply(self, obj):
        await asyncio.sleep(0)
        return self._made(obj)

    def _made(self, obj):
        if error := self.broken.get(obj["kind"]):
            raise error
        status = {"PersistentVolumeClaim": {"phase": "Bound"}, "PersistentVolume": {"phase": "Available"}}.get(obj["kind"], {})
        metadata = {
            "uid": "1",
            **obj["metadata"],
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "resourceVersion": str(next(self.versions)),
        }
        made = {**obj, "status": status, "metadata": metadata}
        self.there[address_of(obj)] = made
        return made

    async def create(self, obj):
        await asyncio.sleep(0)
        return None if address_of(obj) in self.there else self._made(obj)

    async def get(self, address):
        await asyncio.sleep(0)
        return self.there.get(address)

    async def delete(self, address):
        self.there.pop(address, None)

    async def list(self, kind, **which):
        return [obj for address, obj in self.there.items() if address.kind is kind]

    async def note(self, member, audited):
        self.noted.append(audited)

    async def say(self, tenant, phase, problem):
        self.said.append((tenant.identity, phase, problem))


class Folders:
    def __init__(self):
        self.lines = []

    async def make(self, _folders):
        return []

    async def write(self, lines):
        self.lines += lines


async def served(server):
    """A VO and a member, settled there."""
    live = LiveObjects()
    tenants = Tenants(server, Folders(), live)
    tenants.change_offer(OFFER)
    tenants.rights.meet(custom.member(VO.name, ADA.member), VO.name)
    await tenants.settle(Tenant(VO))
    await tenants.settle(ADA)
    return tenants, Keeper(server, tenants, live)


def kinds(server, namespace):
    return sorted({address.kind.kind for address in server.there if address.namespace == namespace})


@pytest.mark.parametrize("kind", ["Namespace", "NetworkPolicy", "PersistentVolume"])
def test_a_repair_that_fails_is_told_and_so_is_its_end(kind):
    async def run():
        server = Server()
        tenants, _ = await served(server)
        server.broken[kind] = WaitingError("the API server is away")
        with pytest.raises(WaitingError):
            await tenants.repair(ADA.namespace)
        server.broken.clear()
        await tenants.repair(ADA.namespace)
        return server.said

    told = [("ada@example.org", Phase.WAITING, "the API server is away"), ("ada@example.org", Phase.READY, None)]
    assert asyncio.run(run()) == told


@pytest.mark.parametrize("late", range(12))
def test_of_two_vos_that_settle_one_person_by_two_processes_one_is_refused_before_it_gives_anything(late):
    """Whichever comes first, and however far it is when the other begins."""
    other = VirtualOrganisationSpec(name="other.example.org", gid=20002, quota=VO.quota)

    async def run():
        server = Server()

        async def settled(vo, after):
            tenants = Tenants(server, Folders(), LiveObjects())
            tenants.change_offer(OFFER)
            tenants.rights.meet(custom.member(vo.name, ADA.member), vo.name)
            await tenants.settle(Tenant(vo))
            for _ in range(after):
                await asyncio.sleep(0)
            await tenants.settle(Tenant(vo, ADA.member))

        ended = await asyncio.gather(settled(VO, 0), settled(other, late), return_exceptions=True)
        rights = [obj for obj in server.there.values() if obj["kind"] == "RoleBinding" and owner_of(obj) == ADA.namespace]
        return ended, {obj["metadata"]["labels"]["primage.eu/vo"] for obj in rights}

    ended, given = asyncio.run(run())
    (refused,) = [error for error in ended if error is not None]
    assert "a person is a member of one VO on a site" in str(refused).replace("A person", "a person")
    assert len(given) == 1


def test_there_are_no_rights_where_there_are_no_limits():
    async def run():
        server = Server()
        server.broken["ResourceQuota"] = RefusedError("exceeded quota")
        with pytest.raises(RefusedError):
            await served(server)
        return kinds(server, Tenant(VO).namespace)

    assert "RoleBinding" not in asyncio.run(run())


def test_who_is_left_alone_is_known_and_not_repaired():
    async def run():
        server = Server()
        tenants = Tenants(server, Folders(), LiveObjects())
        tenants.change_offer(OFFER)
        tenants.pause(Tenant(VO))
        await tenants.repair(Tenant(VO).namespace)
        before = set(server.there)
        tenants.rights.meet(custom.member(VO.name, ADA.member), VO.name)
        await tenants.settle(ADA)
        return before, kinds(server, ADA.namespace)

    before, theirs = asyncio.run(run())
    assert before == set()
    assert "RoleBinding" in theirs


def test_a_member_settled_late_does_not_bring_back_the_vo_as_it_was():
    async def run():
        server = Server()
        tenants, keeper = await served(server)
        wider = VO.model_copy(update={"quota": QuotaConfig(cpu="8", memory="8Gi")})
        await tenants.settle(Tenant(wider))
        keeper.follow(Tenant(wider))
        await tenants.settle(ADA)  # asked for with the VO as it was before
        return {tenant.vo.quota.cpu for tenant in tenants}

    assert asyncio.run(run()) == {"8"}


def test_a_mistake_about_one_tenant_keeps_the_others_repaired():
    async def run():
        server = Server()
        _, keeper = await served(server)
        server.broken["ConfigMap"] = TypeError("a mistake")
        server.there.pop(next(address for address in server.there if address.kind is NAMESPACE))
        worker = asyncio.create_task(keeper.repair())
        keeper.everybody()
        await asyncio.sleep(0)
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if len([address for address in server.there if address.kind is NAMESPACE]) == 2:
                break
        ended = worker.done()
        worker.cancel()
        return ended

    assert asyncio.run(run()) is False


def test_every_loop_begins_again_so_that_the_process_is_seen_to_live():
    """A loop that never came back to its beginning looked dead to its pod's probe, which ended it every nine minutes."""

    async def run():
        server = Server()
        _, keeper = await served(server)
        await asyncio.wait_for(keeper.sweep(0.01), 5)

    asyncio.run(run())
