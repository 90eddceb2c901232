"""What the planner makes of one declaration and a cluster, with no program and no engine."""

import pytest
from declared import HERE, config_map, declared, declared_dynamic, job
from memory_cluster import MemoryCluster

from primage.clients.cluster import Refused
from primage.components.dynamic_providers import SESSION_TOKEN
from primage.engine.api import Action
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.planner import Planner, judged, leaving
from primage.engine.embedded.removal import Remover
from primage.engine.embedded.state import Entry, StackState, Status
from primage.engine.ownership import Owner, Scope
from primage.engine.protection import KINDS
from primage.errors import PrimageError
from primage.projects.project import StackName

NAME = StackName("tiny")
OWNER = Owner(NAME, "primage:primage/tiny", "tiny")


@pytest.fixture
def cluster(monkeypatch):
    found = MemoryCluster()

    def at(_, connection):
        assert connection == HERE
        return found

    monkeypatch.setattr(Clusters, "at", at)
    return found


@pytest.fixture
def planner(cluster):
    return Planner(OWNER, StackState("tiny"), Clusters())


def known(planner, given, status=Status.READY, **more):
    """The state lists it, as it was declared."""
    more = more or {"ref": given.ref, "digest": given.digest}
    entry = Entry(urn=given.urn, type=given.registration.type, name="x", status=status, order=1, level=1, **more)
    planner.state.resources[given.urn] = entry
    return entry


def standing(cluster, obj):
    """It is there, and the stack's own."""
    return cluster.put(obj, manager=OWNER.manager)


def test_what_is_not_there_is_to_be_created_and_nothing_is_written(planner, cluster):
    given = declared(config_map(a="b"))
    assert planner.take_object(given).id == "", "nothing has an id before it is made"
    assert planner.changes[given.urn].action is Action.CREATE
    assert cluster.objects == {}


def test_what_is_there_and_equal_is_the_same_and_what_differs_is_told_by_field(planner, cluster):
    standing(cluster, config_map(a="b"))
    assert planner.plan_object(declared(config_map(a="b"))).action is Action.SAME
    change = planner.plan_object(declared(config_map(a="c")))
    assert (change.action, [(f.path, f.before, f.after) for f in change.fields]) == (Action.UPDATE, [("data.a", "b", "c")])


def test_a_value_that_the_program_marks_secret_is_masked(planner, cluster):
    standing(cluster, config_map(a="hunter2"))
    (field,) = planner.plan_object(declared(config_map(a="hunter3"), secrets=[("data", "a")])).fields
    assert (field.before, field.after) == ("[secret]", "[secret]")


def test_a_field_whose_changes_are_ignored_stays_as_it_is(planner, cluster):
    standing(cluster, config_map(a="b"))
    assert planner.plan_object(declared(config_map(a="c"), ignore_changes=("data.a",))).action is Action.SAME


def test_an_object_of_somebody_else_is_refused(planner, cluster):
    cluster.put(config_map(a="b"))
    with pytest.raises(PrimageError, match=r"exists already and is not this stack's \(written by somebody\)"):
        planner.take_object(declared(config_map(a="c")))
    assert planner.changes == {}


@pytest.mark.parametrize(
    ("status", "words", "action"), [(422, "field is immutable", Action.REPLACE), (422, "no", None), (409, "x", None)]
)
def test_only_what_the_server_calls_immutable_is_replaced(planner, cluster, monkeypatch, status, words, action):
    standing(cluster, config_map(a="b"))

    def refuse(*_, **__):
        raise Refused(status, "Invalid", words)

    monkeypatch.setattr(cluster, "apply", refuse)
    if action is None:
        with pytest.raises(Refused, match=words):
            planner.plan_object(declared(config_map(a="c")))
    else:
        change = planner.plan_object(declared(config_map(a="c")))
        assert (change.action, change.reason) == (action, "it has immutable fields that change")
        assert "data.a" in [field.path for field in change.fields]


@pytest.mark.parametrize(
    ("status", "words", "fine"),
    [
        (403, "no PriorityClass with name urgent", False),
        (422, "spec.template: Invalid value", False),
        (403, "exceeded quota: primage, requested: count/jobs.batch=1", True),
    ],
)
@pytest.mark.parametrize("how", ["failed", "changed"])
def test_a_job_is_replaced_only_by_one_that_the_server_would_have(planner, cluster, monkeypatch, status, words, fine, how):
    standing(cluster, job())
    (live,) = cluster.objects.values()
    live["status"] = {"conditions": [{"type": "Failed" if how == "failed" else "Complete", "status": "True"}]}
    asked = []

    def answer(obj, **_):
        asked.append(obj["metadata"]["name"])
        if obj["metadata"]["name"] == live["metadata"]["name"]:
            raise Refused(422, "Invalid", "field is immutable")
        raise Refused(status, "Forbidden", words)

    monkeypatch.setattr(cluster, "apply", answer)
    if fine:
        assert planner.plan_object(declared(job())).action is Action.REPLACE
    else:
        with pytest.raises(Refused, match=words):
            planner.plan_object(declared(job()))
    assert asked[-1].endswith("-planned")


POD = 'pods "j-planned" is forbidden: '
NEVER = POD + "exceeded quota: vo, requested: limits.cpu=5, used: limits.cpu=1, limited: limits.cpu=4"
USED_UP = POD + "exceeded quota: vo, requested: limits.cpu=4, used: limits.cpu=1, limited: limits.cpu=4"
TOO_LARGE = POD + "maximum cpu usage per Container is 4, but limit is 5"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (NEVER, r"n/j can never run: it asks for 5 of limits\.cpu, but its namespace's whole quota is 4"),
        (TOO_LARGE, r"n/j can never run: .*maximum cpu usage per Container is 4, but limit is 5"),
        (USED_UP, ""),
        (POD + "violates PodSecurity", ""),
    ],
)
@pytest.mark.parametrize("how", ["made", "failed", "changed"])
def test_a_job_whose_pods_could_never_be_made_is_refused_before_anything_is_deleted(
    planner, cluster, monkeypatch, words, told, how
):
    given = job()
    given["spec"]["template"] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    if how != "made":
        standing(cluster, given)
        (live,) = cluster.objects.values()
        live["status"] = {"conditions": [{"type": "Failed" if how == "failed" else "Complete", "status": "True"}]}
    tried = []

    def answer(obj, **options):
        if obj["kind"] == "Pod":
            assert options["dry_run"]
            tried.append(obj)
            raise Refused(403, "Forbidden", words)
        if how == "changed" and obj["metadata"]["name"] == "j":
            raise Refused(422, "Invalid", "field is immutable")
        return obj

    monkeypatch.setattr(cluster, "apply", answer)
    if told:
        with pytest.raises(PrimageError, match=told):
            planner.take_object(declared(given))
        assert planner.changes == {}
    else:
        assert planner.plan_object(declared(given)).action is (Action.CREATE if how == "made" else Action.REPLACE)
    (pod,) = tried
    assert (pod["metadata"]["labels"], pod["spec"]) == ({"a": "b"}, {"containers": []})
    assert cluster.deleted == []


def test_of_a_job_that_kubernetes_makes_no_pods_for_none_is_tried(planner, cluster, monkeypatch):
    given = job()
    given["spec"] |= {"managedBy": "hpc.primage.eu/connector", "template": {"spec": {"containers": []}}}
    kinds = []
    monkeypatch.setattr(cluster, "apply", lambda obj, **_: kinds.append(obj["kind"]) or obj)
    assert planner.plan_object(declared(given)).action is Action.CREATE
    assert kinds == ["Job"]


@pytest.mark.parametrize(("status", "fine"), [(404, True), (403, False)])
def test_what_a_new_object_needs_may_come_from_the_same_stack(planner, cluster, monkeypatch, status, fine):
    def refuse(*_, **__):
        raise Refused(status, "NotFound", "no namespace n")

    monkeypatch.setattr(cluster, "apply", refuse)
    if fine:
        assert planner.plan_object(declared(config_map())).action is Action.CREATE
    else:
        with pytest.raises(Refused):
            planner.plan_object(declared(config_map()))


def test_a_job_that_ended_and_was_cleaned_up_is_the_same_until_it_is_another(planner):
    given = declared(job())
    known(planner, given)
    assert planner.plan_object(given).action is Action.SAME
    assert planner.plan_object(declared({**job(), "spec": {"parallelism": 2}})).action is Action.CREATE
    known(planner, given, Status.FAILED)
    assert planner.plan_object(given).action is Action.CREATE


def test_a_job_that_serves_has_no_end_to_keep():
    assert declared(job()).digest
    assert declared(job(**{"pulumi.com/waitFor": "jsonpath={.status.ready}=1"})).digest == ""


@pytest.mark.parametrize(
    ("annotations", "why"), [({}, "it failed"), ({"pulumi.com/waitFor": "jsonpath={.status.ready}=1"}, "it has ended")]
)
def test_a_job_that_failed_is_replaced(planner, cluster, annotations, why):
    ref = standing(cluster, job(**annotations))
    cluster.objects[ref]["status"] = {"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimitExceeded"}]}
    change = planner.plan_object(declared(job(**annotations)))
    assert change.action is Action.REPLACE
    assert why in change.reason


def test_what_depends_on_unknown_values_is_planned_anew_when_they_are_known(planner, cluster):
    standing(cluster, config_map(a="b"))
    unknown = declared(config_map(a="?"), unknowns=[("data", "a")])
    planner.take_object(unknown)
    assert planner.changes[unknown.urn].action is Action.UPDATE
    assert planner.settled(declared(config_map(a="b"))).action is Action.SAME


def test_what_was_planned_is_not_asked_about_again(planner, cluster, monkeypatch):
    given = declared(config_map(a="b"))
    planner.take_object(given)
    monkeypatch.setattr(cluster, "get", lambda _: pytest.fail("the cluster was asked again"))
    assert planner.settled(given) is planner.changes[given.urn]


def test_there_is_something_to_do_while_anything_differs_or_is_unfinished(planner, cluster):
    given = declared(config_map(a="b"))
    standing(cluster, given.obj)
    planner.take_object(given)
    assert planner.changes_anything(), "the state does not know of it"
    known(planner, given, Status.APPLYING)
    assert planner.changes_anything()
    known(planner, given, Status.READY)
    assert not planner.changes_anything()
    planner.take_object(declared(config_map(a="b"), protect=True))
    assert planner.changes_anything(), "the state is to say that it is protected"


# -- dynamic resources -----------------------------------------------------------------------------------------------


class Result:
    def __init__(self, **given):
        self.__dict__.update(given)


class Answers:
    """A provider that gives fixed answers, and counts what it is asked to do."""

    def __init__(self, *failures, changes=None, replaces=()):
        self._checked = Result(failures=[Result(property=name, reason="is bad") for name in failures])
        self._diff = Result(changes=changes, replaces=list(replaces))

    def check(self, old, new):
        return self._checked

    def diff(self, id_, old, new):
        return self._diff


def dynamic(provider, **more):
    return declared_dynamic({"namespace": "n", "__provider": "pickled"}, provider, SESSION_TOKEN, name="token", **more)


@pytest.mark.parametrize(
    ("provider", "action"),
    [
        (Answers(changes=False), Action.SAME),
        (Answers(changes=True), Action.UPDATE),
        (Answers(changes=True, replaces=["namespace"]), Action.REPLACE),
        (Answers(), Action.SAME),
    ],
)
def test_a_dynamic_resource_goes_by_its_providers_answers(planner, provider, action):
    given = dynamic(provider)
    assert planner.plan_dynamic(given).action is Action.CREATE, "nothing is made yet"
    known(planner, given, dynamic={"id": "x", "inputs": {"namespace": "n"}, "outputs": {"secret": "s"}})
    seen = planner.take_dynamic(given)
    assert planner.changes[given.urn].action is action
    assert (seen.id, seen.properties.get("secret")) == (("x", "s") if action is Action.SAME else ("", None))


def test_a_dynamic_resource_that_its_provider_refuses_is_named(planner):
    with pytest.raises(PrimageError, match="token is refused by its provider: namespace: is bad"):
        planner.plan_dynamic(dynamic(Answers("namespace")))


# -- what is refused -------------------------------------------------------------------------------------------------


def remover():
    return Remover(OWNER, Scope(), HERE, Clusters(), lambda _: None, 1.0)


def test_what_left_the_program_goes_unless_it_is_retained(planner, cluster):
    for name, more in (("a", {}), ("b", {"retain": True})):
        given = declared(config_map(name))
        known(planner, given, ref=given.ref, **more)
    assert [change.action for change in leaving(planner.state, {})] == [Action.DELETE, Action.KEEP]


def test_each_refusal_says_whether_it_is_for_protection(planner, cluster):
    space = declared({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
    other, guarded = declared(config_map("other")), declared(config_map("guarded"))
    for given, manager in ((space, OWNER.manager), (other, "somebody"), (guarded, OWNER.manager)):
        known(planner, given, ref=given.ref, protect=given is guarded)
        cluster.put(given.obj, manager=manager)
    found = {change.label: (bool(change.refused), change.protected) for change in judged(planner, remover(), KINDS)}
    assert found == {space.label: (True, True), other.label: (True, False), guarded.label: (True, True)}
    assert judged(planner, remover(), frozenset())[0].refused == "", "its kind is not protected"
