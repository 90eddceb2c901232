"""Role by action: what each kind of person may do, asked of the real API server with real tokens.

Whoever is allowed is answered as if it were done (`dryRun`), or that there is no such object; whoever is not, is refused.
"""

import base64
import json
from dataclasses import dataclass, field

import people
import pytest
import requests
from hpc_machine import until

from primage.clients.cluster import Ref
from primage.contract import memberships, names
from primage.contract.gateway_api import ROUTE
from primage.contract.memberships import object_name
from primage.contract.pod_security import container_security, pod_security
from primage.contract.roles import Role

API, AUTHORITY = "https://10.89.77.11:6443", "/var/lib/primage/local/kubeconfig.ca.crt"
VO, TRAINING = "vo.primage.eu", "training.primage.eu"
SHARED, OTHER, MEMBER1 = (names.namespace_for(name) for name in (VO, TRAINING, "member1@primage.eu"))
NOBODY: frozenset[str] = frozenset()
ALL = frozenset(role.value for role in Role)
WHOEVER = ALL | {"nobody"}
"""Strangers too, whom the identity provider knows and who are in no VO."""
ADMINS = frozenset({"admin"})
VICTIM = "somebody-else@example.org"
"""Who asks to join while the table is gone through."""
RUN_OWN = ALL - {"guest"}
RUN_SHARED = frozenset({"admin", "deploy-manager"})
SOON_S = 60
ALLOWED = {200, 201, 400, 404}
"""400: a request to enter a pod asks for no stream; 404: there is no such object, which is told to nobody else."""
REFUSED = {403, 422}
"""422: of admission."""


@dataclass(frozen=True)
class Action:
    """A request, and which roles of the VO may make it.

    Attributes:
        path: below the API server; `{own}` is the namespace of whoever asks.
    """

    says: str
    who: frozenset[str]
    method: str
    path: str
    body: dict | list | None = None
    headers: dict = field(default_factory=dict)


def pod(**spec):
    """A pod as it has to be, but for what is given."""
    container = {
        "name": "main",
        "image": "primage/base:1",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "10m", "memory": "16Mi"}},
        "securityContext": {**container_security(), **spec.pop("container", {})},
    }
    whole = {
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "containers": [container],
        "securityContext": "theirs",
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "roles-table"}, "spec": {**whole, **spec}}


def made(api, kind, name="roles-table", **fields):
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **fields}


def binding(kind, role, user):
    group = "rbac.authorization.k8s.io"
    subject = {"apiGroup": group, "kind": "User", "name": user}
    return made(f"{group}/v1", kind, roleRef={"apiGroup": group, "kind": "ClusterRole", "name": role}, subjects=[subject])


CORE, RBAC, NET = "/api/v1", "/apis/rbac.authorization.k8s.io/v1", "/apis/networking.k8s.io/v1"
OURS, BATCH = "/apis/primage.eu/v1", "/apis/batch/v1"
ROUTES = f"/apis/{ROUTE.api_version}"
HERE = f"{CORE}/namespaces/{{own}}"
THERE = f"{CORE}/namespaces/{SHARED}"
ROLE = made("rbac.authorization.k8s.io/v1", "Role", rules=[])
ANYBODY, MYSELF = binding("RoleBinding", "view", "anybody"), binding("RoleBinding", "cluster-admin", "me")
WHOLE = binding("ClusterRoleBinding", "view", "me")
SOMEBODY = {"Impersonate-User": "primage:member1@primage.eu"}
MASTER = {"Impersonate-User": "x", "Impersonate-Group": "system:masters"}
ADMIN = {"spec": {"roles": ["admin"]}}
OPEN = made("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]})
HOST = {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}
TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
MERGE = {"Content-Type": "application/merge-patch+json"}
STEPS = {"Content-Type": "application/json-patch+json"}
COPY = {"op": "copy", "from": "/spec/identity", "path": "/spec/wish"}
GUESS = {"op": "test", "path": "/spec/wish", "value": "join"}
TRIED = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground", "dryRun": ["All"]}

VICTIMS = object_name(VICTIM)
REQUESTS, DECISIONS = (f"{OURS}/namespaces/{SHARED}/{kind}" for kind in (memberships.REQUESTS, memberships.DECISIONS))


def asking(name="{own}", identity="{me}", **metadata):
    spec = {"identity": identity, "wish": "join", "roles": ["guest"], "message": "please"}
    return {"apiVersion": "primage.eu/v1", "kind": memberships.REQUEST, "metadata": {"name": name, **metadata}, "spec": spec}


def deciding(by="{me}", **metadata):
    spec = {"identity": VICTIM, "verdict": "approve", "roles": ["admin"], "decidedBy": by}
    return {"apiVersion": "primage.eu/v1", "kind": memberships.DECISION, "metadata": {"name": VICTIMS, **metadata}, "spec": spec}


ACTIONS = [
    # -- in their own namespace
    Action("list pods", ALL, "GET", f"{HERE}/pods"),
    Action("read a log", ALL, "GET", f"{HERE}/pods/none/log"),
    Action("read the site's config map", ALL, "GET", f"{HERE}/configmaps/{names.CONFIG_MAP}"),
    Action("see the quota", ALL, "GET", f"{HERE}/resourcequotas"),
    Action("see events", ALL, "GET", f"{HERE}/events"),
    Action("run a pod", RUN_OWN, "POST", f"{HERE}/pods", pod()),
    Action("run a job", RUN_OWN, "DELETE", f"{BATCH}/namespaces/{{own}}/jobs/none"),
    Action("enter a pod", RUN_OWN, "POST", f"{HERE}/pods/none/exec?command=id"),
    Action("forward a port", RUN_OWN, "POST", f"{HERE}/pods/none/portforward"),
    Action("read secrets", RUN_OWN, "GET", f"{HERE}/secrets"),
    Action("write a secret", RUN_OWN, "POST", f"{HERE}/secrets", made("v1", "Secret", stringData={"a": "b"})),
    Action("have a token of an own account", RUN_OWN, "POST", f"{HERE}/serviceaccounts/default/token", TOKEN),
    Action("run a privileged pod", NOBODY, "POST", f"{HERE}/pods", pod(container={"privileged": True})),
    Action("run a pod as root", NOBODY, "POST", f"{HERE}/pods", pod(container={"runAsUser": 0})),
    Action("run a pod as somebody else", NOBODY, "POST", f"{HERE}/pods", pod(container={"runAsUser": 40001})),
    Action("mount a node's disk", NOBODY, "POST", f"{HERE}/pods", pod(**HOST)),
    Action("share a node's network", NOBODY, "POST", f"{HERE}/pods", pod(hostNetwork=True)),
    Action("choose the node", NOBODY, "POST", f"{HERE}/pods", pod(nodeName="front")),
    Action("see routes of sessions", ALL, "GET", f"{ROUTES}/namespaces/{{own}}/httproutes"),
    Action("take a route away", RUN_OWN, "DELETE", f"{ROUTES}/namespaces/{{own}}/httproutes/none"),
    Action("change the site's gateway", NOBODY, "DELETE", f"{ROUTES}/namespaces/{names.SYSTEM_NAMESPACE}/gateways/gateway"),
    Action("raise the own quota", NOBODY, "PATCH", f"{HERE}/resourcequotas/vo", {"spec": {"hard": {"pods": "999"}}}, MERGE),
    Action("change the own limits", NOBODY, "PATCH", f"{HERE}/limitranges/vo", {"spec": {"limits": []}}, MERGE),
    Action("lift the default deny", NOBODY, "DELETE", f"{NET}/namespaces/{{own}}/networkpolicies/default-deny"),
    Action("open the namespace to everybody", NOBODY, "POST", f"{NET}/namespaces/{{own}}/networkpolicies", OPEN),
    Action("delete the claim of HOME", NOBODY, "DELETE", f"{HERE}/persistentvolumeclaims/{names.CLAIM_HOME_PRIVATE}"),
    Action("make a role", NOBODY, "POST", f"{RBAC}/namespaces/{{own}}/roles", ROLE),
    Action("give rights", NOBODY, "POST", f"{RBAC}/namespaces/{{own}}/rolebindings", ANYBODY),
    Action("bind all rights", NOBODY, "POST", f"{RBAC}/namespaces/{{own}}/rolebindings", MYSELF),
    Action("write events", NOBODY, "POST", f"{HERE}/events", made("v1", "Event", involvedObject={}, reason="x")),
    Action("label the namespace", NOBODY, "PATCH", HERE, {"metadata": {"labels": {names.LABEL_UID: "40001"}}}, MERGE),
    # -- in the VO's
    Action("see what runs for the VO", ALL, "GET", f"{THERE}/pods"),
    Action("read logs of the VO's pods", ALL, "GET", f"{THERE}/pods/none/log"),
    Action("run a pod for the VO", RUN_SHARED, "DELETE", f"{THERE}/pods/none"),
    Action("read the VO's secrets", RUN_SHARED, "GET", f"{THERE}/secrets"),
    Action("enter the VO's pods", RUN_SHARED, "POST", f"{THERE}/pods/none/exec?command=id"),
    Action("forward a port of the VO's", RUN_SHARED, "POST", f"{THERE}/pods/none/portforward"),
    Action("see who is a member", ADMINS, "GET", f"{OURS}/namespaces/{SHARED}/members"),
    Action("raise the VO's quota", NOBODY, "PATCH", f"{THERE}/resourcequotas/vo", {"spec": {"hard": {"pods": "999"}}}, MERGE),
    # -- who is a member of it
    Action("ask to join, for themselves", WHOEVER, "POST", REQUESTS, asking()),
    Action("ask to join in somebody else's name", NOBODY, "POST", REQUESTS, asking("another", "another@example.org")),
    Action("ask twice", NOBODY, "POST", REQUESTS, asking("second")),
    Action("ask under somebody else's name", NOBODY, "POST", REQUESTS, asking(VICTIMS)),
    Action("fill a request with annotations", NOBODY, "POST", REQUESTS, asking(annotations={"a": "b"})),
    Action("see who asks to join", ADMINS, "GET", REQUESTS),
    Action("read somebody else's request", ADMINS, "GET", f"{REQUESTS}/{VICTIMS}"),
    Action("read it by a change that changes nothing", NOBODY, "PATCH", f"{REQUESTS}/{VICTIMS}", {}, MERGE),
    Action("read it by what a copy in it is refused for", NOBODY, "PATCH", f"{REQUESTS}/{VICTIMS}", [COPY], STEPS),
    Action("guess what is in it", NOBODY, "PATCH", f"{REQUESTS}/{VICTIMS}", [GUESS], STEPS),
    Action("read it by trying to delete it", NOBODY, "DELETE", f"{REQUESTS}/{VICTIMS}", TRIED),
    Action("change somebody else's request", NOBODY, "PATCH", f"{REQUESTS}/{VICTIMS}", {"spec": {"roles": ["admin"]}}, MERGE),
    Action("delete somebody else's request", NOBODY, "DELETE", f"{REQUESTS}/{VICTIMS}"),
    Action(
        "say what became of a request", NOBODY, "PATCH", f"{REQUESTS}/{VICTIMS}/status", {"status": {"state": "Approved"}}, MERGE
    ),
    Action("decide on a request", ADMINS, "POST", DECISIONS, deciding()),
    Action("see what was decided", ADMINS, "GET", DECISIONS),
    Action("decide in another administrator's name", NOBODY, "POST", DECISIONS, deciding("boss@example.org")),
    Action("fill a decision with labels", NOBODY, "POST", DECISIONS, deciding(labels={"a": "b"})),
    Action("change a decision", NOBODY, "PATCH", f"{DECISIONS}/{VICTIMS}", {"spec": {"roles": ["guest"]}}, MERGE),
    Action("decide for another VO", NOBODY, "POST", DECISIONS.replace(SHARED, OTHER), deciding()),
    # -- elsewhere
    *(
        Action(f"{what} of {whose}", NOBODY, method, f"{CORE}/namespaces/{space}/{path}")
        for whose, space in (("another member", MEMBER1), ("another VO", OTHER), ("the site", names.SYSTEM_NAMESPACE))
        for what, method, path in (
            ("list pods", "GET", "pods"),
            ("read secrets", "GET", "secrets"),
            ("enter a pod", "POST", "pods/none/exec?command=id"),
            ("delete claims", "DELETE", "persistentvolumeclaims/datalake"),
        )
    ),
    Action(
        "give themselves a role",
        NOBODY,
        "PATCH",
        f"{OURS}/namespaces/{SHARED}/members/{{own}}",
        ADMIN,
        MERGE,
    ),
    Action("make somebody a member", NOBODY, "POST", f"{OURS}/namespaces/{SHARED}/members", made("primage.eu/v1", "Member")),
    Action("change the VO", NOBODY, "PATCH", f"{OURS}/virtualorganisations/{SHARED}", {"spec": {"gid": 0}}, MERGE),
    Action("list namespaces", NOBODY, "GET", f"{CORE}/namespaces"),
    Action("make a namespace", NOBODY, "POST", f"{CORE}/namespaces", made("v1", "Namespace")),
    Action("list nodes", NOBODY, "GET", f"{CORE}/nodes"),
    Action("read a volume", NOBODY, "GET", f"{CORE}/persistentvolumes"),
    Action("bind a cluster's role", NOBODY, "POST", f"{RBAC}/clusterrolebindings", WHOLE),
    Action(
        "be another member",
        NOBODY,
        "GET",
        f"{CORE}/namespaces/{MEMBER1}/pods",
        None,
        SOMEBODY,
    ),
    Action(
        "be an administrator",
        NOBODY,
        "GET",
        f"{CORE}/nodes",
        None,
        MASTER,
    ),
]


def whose(token):
    """Whom a token is about."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["preferred_username"]


def ask(action, token, own, security):
    """The status of a request that changes nothing."""
    body = None
    if action.body is not None:
        text = json.dumps(action.body).replace('"theirs"', json.dumps(security))
        body = json.loads(text.replace("{own}", object_name(whose(token))).replace("{me}", whose(token)))
    path = action.path.format(own=own)
    dry = "" if action.method == "GET" or "/exec" in path or "portforward" in path else ("&" if "?" in path else "?") + "dryRun=All"
    headers = {
        "Authorization": f"Bearer {token}",
        **({"Content-Type": "application/json"} if body is not None else {}),
        **action.headers,
    }
    data = json.dumps(body) if body is not None else None
    return requests.request(action.method, f"{API}{path}{dry}", data=data, headers=headers, verify=AUTHORITY, timeout=30)


def table(token, own, uid, role):
    """Each action that was not answered as it has to be."""
    security, wrong = pod_security(uid, 20001), []
    for action in ACTIONS:
        said = ask(action, token, own, security)
        wanted = ALLOWED if role in action.who else REFUSED
        if said.status_code not in wanted:
            wrong.append(f"{role}: {action.says}: {said.status_code} {said.text[:300]}")
    return wrong


@pytest.fixture(scope="module", autouse=True)
def victim(site, cluster):
    spec = memberships.MembershipRequestSpec(identity=VICTIM, wish="join", roles=("guest",))
    asked = memberships.request(VO, spec)
    cluster.apply(asked, manager="operator")
    yield
    cluster.delete(Ref.of(asked), propagation="Background")


@pytest.fixture(scope="module")
def ada(admin, cluster):
    """One person, who has one role after the other."""
    with people.person(admin, cluster, "role", f"/{VO}/guest") as made:
        yield made


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_each_role_may_do_what_its_row_says_and_nothing_else(role, ada, admin, cluster):
    identity, user = ada
    space = names.namespace_for(identity)
    before = people.member(cluster, identity)["spec"]["roles"]
    admin.group_user_add(user, admin.get_group_by_path(f"/{VO}/{role}")["id"])
    for other in before:
        if other != role:
            people.leave(admin, user, f"/{VO}/{other}")
    run = "edit" if role in RUN_OWN else "view"

    def bound():
        found = {one["metadata"]["name"] for one in cluster.list("rbac.authorization.k8s.io/v1", "RoleBinding", space)}
        theirs = {name for name in found if name.startswith("member-")}
        return people.member(cluster, identity)["spec"]["roles"] == [role] and theirs == {f"member-{run}"}

    until(f"{identity} is a {role}", bound, SOON_S)
    wanted = {"edit" if role in RUN_SHARED else "view", *(["membership"] if role in ADMINS else [])}
    until("so it is in the VO's namespace", lambda: _bindings(cluster, space) == wanted, SOON_S)
    wrong = table(people.token(identity), space, people.member(cluster, identity)["spec"]["uid"], role)
    assert wrong == []


def _bindings(cluster, space):
    found = [one["metadata"]["name"] for one in cluster.list("rbac.authorization.k8s.io/v1", "RoleBinding", SHARED)]
    return {name.removeprefix(f"member-{space}-") for name in found if name.startswith(f"member-{space}-")}


def test_who_is_in_no_vo_may_do_nothing_but_ask_to_be(admin):
    identity = "stranger@example.org"
    user = people.account(admin, identity)
    try:
        wrong = table(people.token(identity), "default", 40001, "nobody")
        assert wrong == []
    finally:
        admin.delete_user(user)


def test_a_member_of_another_vo_may_do_nothing_in_this_one(admin, cluster):
    with people.person(admin, cluster, "foreign", f"/{TRAINING}/admin") as (identity, _):
        token, elsewhere = people.token(identity), [action for action in ACTIONS if "{own}" not in action.path]
        # The claims that a site has made are nobody's to delete, nor their own VO's.
        mine = [action for action in elsewhere if f"/{OTHER}/" in action.path and "claims" not in action.says]
        assert [action.says for action in mine if ask(action, token, "", {}).status_code not in ALLOWED] == []
        others = [action for action in elsewhere if action not in mine and action.who != WHOEVER]
        assert [action.says for action in others if ask(action, token, "", {}).status_code not in REFUSED] == []


def test_the_table_is_as_long_as_it_has_to_be():
    assert len({action.says for action in ACTIONS}) == len(ACTIONS) >= 30
