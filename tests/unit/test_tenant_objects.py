"""What a tenant has, for any VO and member that settings may describe."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from primage.contract.hpc_centres import HpcBackendConfig, HpcConfig
from primage.contract.networks import NetworkConfig
from primage.contract.offer import SiteOffer
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import everything, limits, network
from primage.contract.vo import ContainerConfig, QuotaConfig, UserConfig, VoConfig
from primage.contract.volumes import PosixVolume
from primage.contract.volumes.settings import VolumesConfig

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", fullmatch=True)
VO = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
MEMBER = st.tuples(st.from_regex(r"[a-z0-9]([a-z0-9._+-]{0,60}[a-z0-9])?", fullmatch=True), VO).map("@".join)
NETWORK = st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: str(ipaddress.ip_network(pair, strict=False)))
QUOTA = QuotaConfig(cpu="4", memory="8Gi")
SITE = NetworkConfig(api_servers=("10.0.0.1/32",), machines=("10.0.0.0/24",))


def vo(name="vo.example.org", members=(), egress=(), **more):
    users = tuple(UserConfig(name=member, uid=40000 + number) for number, member in enumerate(members))
    return VoConfig(name=name, gid=20000, quota=QUOTA, users=users, egress=tuple(egress), **more)


VOLUMES = VolumesConfig(
    datalake=PosixVolume(path="/volumes/datalake", capacity="1Gi"), home=PosixVolume(path="/volumes/home", capacity="1Gi")
)
CENTRES = [HpcBackendConfig(name="hpc", endpoint="10.1.0.1", vos=("vo.example.org",))]


OFFER = SiteOffer(
    labels={"primage.eu/made-by": "site"},
    protect=False,
    mount_point="/primage",
    oneprovider="",
    network=SITE,
    volumes=VOLUMES,
    hpc=HpcConfig(backends=tuple(CENTRES)),
)


def tenants(vos):
    """All of these VOs, each before its members."""
    return [tenant for vo in vos for tenant in (Tenant(vo.organisation), *(Tenant(vo.organisation, u.member) for u in vo.users))]


def place(obj):
    return obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]


@given(st.lists(VO, min_size=1, max_size=3, unique=True), st.lists(MEMBER, max_size=4, unique=True))
def test_no_two_tenants_have_an_object_in_common_and_each_carries_its_tenants_labels(vos, members):
    found = tenants([vo(name, members if number == 0 else ()) for number, name in enumerate(vos)])
    made = [(tenant, obj) for tenant in found for obj in everything(tenant, OFFER)]
    places = [place(obj) for _, obj in made]
    assert len(set(places)) == len(places)
    for tenant, obj in made:
        assert tenant.labels.items() <= obj["metadata"]["labels"].items()
        shared = [Tenant(tenant.vo).namespace] if obj["kind"] == "RoleBinding" else []
        assert obj["metadata"].get("namespace", tenant.namespace) in [tenant.namespace, *shared]


@given(st.lists(NETWORK, max_size=4))
def test_no_network_that_a_vo_is_let_out_to_has_the_sites_machines_in_it(egress):
    (tenant,) = tenants([vo(egress=egress)])
    blocks = [
        to["ipBlock"]
        for policy in network.network_policies(tenant, SITE, None)
        if policy["metadata"]["name"] == "allow-egress"
        for rule in policy["spec"]["egress"]
        for to in rule["to"]
    ]
    assert [block["cidr"] for block in blocks] == egress
    machines = ipaddress.ip_network(SITE.machines[0])
    for block in blocks:
        cidr = ipaddress.ip_network(block["cidr"])
        assert not machines.subnet_of(cidr) or block["except"] == [*SITE.machines]


def test_nothing_is_open_but_what_is_named():
    (tenant,) = tenants([vo()])
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in network.network_policies(tenant, NetworkConfig(), None)}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies.keys() == {"default-deny", "allow-dns", "allow-own-namespace", "accept-own-namespace"}


def test_a_container_that_asks_for_no_scratch_gets_no_more_than_it_may_have():
    for most, given_ in (("20Gi", "2Gi"), ("1Gi", "1Gi")):
        (tenant,) = tenants([vo(scratch_max=most, container_max=ContainerConfig(cpu="2", memory="4Gi"))])
        (limit,) = limits.limits(tenant)["spec"]["limits"]
        assert limit["default"]["ephemeral-storage"] == given_
        assert limit["max"] == {"cpu": "2", "memory": "4Gi", "ephemeral-storage": most}


def test_a_container_asks_for_something_of_all_that_a_quota_counts():
    (tenant,) = tenants([vo()])
    (limit,) = limits.limits(tenant)["spec"]["limits"]
    assert limit["type"] == "Container"
    assert limit["min"] == {"cpu": "1m", "memory": "4Mi", "ephemeral-storage": "1Mi"}


def test_the_least_that_a_container_asks_for_is_no_more_than_its_default():
    (tenant,) = tenants([vo(container_default=ContainerConfig(cpu="0.5m", memory="1Mi"))])
    (limit,) = limits.limits(tenant)["spec"]["limits"]
    assert limit["min"] == {"cpu": "0.5m", "memory": "1Mi", "ephemeral-storage": "1Mi"}


def test_a_claim_is_bound_to_a_volume_that_nobody_else_can_claim():
    tenant = tenants([vo(members=["ada@example.org"])])[1]
    objects = everything(tenant, OFFER)
    volumes = {obj["metadata"]["name"]: obj["spec"] for obj in objects if obj["kind"] == "PersistentVolume"}
    claims = [obj for obj in objects if obj["kind"] == "PersistentVolumeClaim"]
    assert len(claims) == len(volumes) == 3
    for claim in claims:
        volume = volumes[claim["spec"]["volumeName"]]
        assert volume["claimRef"] == {"namespace": tenant.namespace, "name": claim["metadata"]["name"]}
        assert volume["persistentVolumeReclaimPolicy"] == "Retain"
        assert volume["accessModes"] == claim["spec"]["accessModes"]
