"""The watch that the tests of faults rely on: what it takes for wrong."""

import pytest
from rights_watch import RightsWatch

MEMBER = "primage.eu/members/vo-dot-eu/ada-at-x-dot-eu"
ADA, SPACE, SHARED = "ada@x.eu", "ada-at-x-dot-eu", "vo-dot-eu"


def member(*roles, **about):
    return {"metadata": {"name": SPACE, "namespace": SHARED, **about}, "spec": {"identity": ADA, "roles": list(roles)}}


def binding(role, namespace=SPACE, who=ADA):
    subject = {"kind": "User", "name": f"primage:{who}"}
    return {"metadata": {"namespace": namespace}, "roleRef": {"name": role}, "subjects": [subject]}


OWN, IN_VO = f"rolebindings/{SPACE}/member-edit", f"rolebindings/{SHARED}/member-{SPACE}-view"
RIGHT = [(MEMBER, member("researcher")), (OWN, binding("edit")), (IN_VO, binding("view", SHARED))]
GONE = [(OWN, None), (IN_VO, None), (MEMBER, member("researcher", deletionTimestamp="now")), (MEMBER, None)]


def seen(*told, **watch):
    made = RightsWatch(**watch)
    for key, obj in told:
        made.told(key, obj)
    return made.wrong


def test_a_member_who_comes_works_and_goes_is_as_it_should_be():
    assert seen(*RIGHT, *GONE) == []
    assert seen(*RIGHT, (f"namespaces/{SPACE}", None)) == []
    assert seen((OWN, {**binding("x"), "subjects": [{"kind": "ServiceAccount", "name": "c"}]})) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([(OWN, binding("edit"))], "is given"),
        ([(MEMBER, member("guest")), (OWN, binding("edit"))], "is given"),
        ([(MEMBER, member()), (OWN, binding("view"))], "is given"),
        ([(MEMBER, member("researcher")), (IN_VO, binding("edit", SHARED))], "is given"),
        ([(MEMBER, member("admin")), ("rolebindings/other/x", binding("view", "other"))], "is given"),
        ([(MEMBER, member("admin", deletionTimestamp="now")), (OWN, binding("edit"))], "is given"),
        ([*RIGHT, (OWN, binding("cluster-admin"))], "is given"),
        ([*RIGHT, (OWN, binding("edit", who="eve@x.eu"))], "eve@x.eu is given"),
        ([*RIGHT, (MEMBER, None)], "is gone before"),
    ],
)
def test_what_nobody_should_have_is_wrong(told, words):
    (said,) = seen(*told)
    assert words in said


def test_who_is_to_keep_what_is_theirs_and_a_time_when_nobody_can_know():
    for lost in (OWN, f"namespaces/{SPACE}", f"persistentvolumes/{SPACE}.home", f"persistentvolumeclaims/{SPACE}/home"):
        assert len(seen(*RIGHT, (lost, None), keep={SPACE})) == 1
    watch = RightsWatch()
    watch.told(MEMBER, member("researcher"))
    watch.still = True
    watch.told(MEMBER, member("researcher", labels={}))
    assert watch.wrong == []
    watch.told(MEMBER, member())
    assert len(watch.wrong) == 1
