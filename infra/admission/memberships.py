"""Who may write a request or a decision about memberships (primage.contract.memberships).

Everybody whom the API server knows may write to these kinds in each VO's namespace, as far as rights go
(infra/components/memberships.py). What keeps them to themselves is admission alone: it knows who asks, and rights do not.
`tests/integration/test_roles_table.py` asks as each role.
"""

from __future__ import annotations

from infra.admission.policy import On, Policy, Rule
from infra.admission.who_asks import FROM_TENANT
from primage.contract import names
from primage.contract.custom_resources import GROUP
from primage.contract.memberships import DECISIONS, REQUESTS

_SPELLED = "variables.spec.identity" + "".join(f".replace('{letter}', '{by}')" for letter, by in names.MEMBERSHIP_NAME.items())
_BARE = " && ".join(
    f"object.metadata.?{part}.orValue({nothing}).size() == 0"
    for part, nothing in (("annotations", "{}"), ("labels", "{}"), ("finalizers", "[]"), ("ownerReferences", "[]"))
)
_ABOUT = {"spec": "object == null ? oldObject.spec : object.spec"}


def _form(what: str) -> tuple[Rule, ...]:
    """What both kinds have to be like."""
    return (
        Rule(
            f"object == null || object.metadata.name == {_SPELLED}",
            f"there is one {what} about a person, which is named after them",
            f"'there is one {what} about a person. Set metadata.name: ' + {_SPELLED}",
        ),
        Rule(
            f"request.operation != 'CREATE' || ({_BARE})",
            f"a {what} has a name and nothing else beside its spec. Leave annotations, labels, finalizers and owners out, and use "
            "`kubectl create`",
        ),
        Rule(
            "request.operation != 'UPDATE'",
            f"a {what} stays as it is. Delete it, and make another one",
        ),
    )


REQUESTS_POLICY = Policy(
    "membership-requests",
    (On(GROUP, (REQUESTS,), ("CREATE", "UPDATE", "DELETE")),),
    (
        Rule(
            f"request.userInfo.username == '{names.USER_PREFIX}' + variables.spec.identity",
            "people ask for themselves alone. Set spec.identity to the name that you have logged in by",
        ),
        *_form("request"),
    ),
    FROM_TENANT,
    _ABOUT,
)

DECISIONS_POLICY = Policy(
    "membership-decisions",
    (On(GROUP, (DECISIONS,)),),
    (
        Rule(
            f"request.userInfo.username == '{names.USER_PREFIX}' + variables.spec.decidedBy",
            "a decision says who has decided. Set spec.decidedBy to the name that you have logged in by",
        ),
        *_form("decision"),
    ),
    FROM_TENANT,
    _ABOUT,
)

POLICIES = (REQUESTS_POLICY, DECISIONS_POLICY)
