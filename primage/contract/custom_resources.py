"""VirtualOrganisation and Member, the two kinds of object of group `primage.eu/v1`: their definitions, made from the models of
their specifications, and what an object of each says.

A VirtualOrganisation has the name of its namespace. A Member is in the namespace of its VO and has the name of its own.
Kubernetes writes fields in camel case (`containerMax`), site files in snake case (`container_max`): these are the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel

from primage.contract import names
from primage.contract import offer as offers
from primage.contract.offer import SiteOffer
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import everything
from primage.contract.tenant_objects.objects import Object
from primage.contract.vo import MemberSpec, VirtualOrganisationSpec

GROUP, VERSION = "primage.eu", "v1"
API_VERSION = f"{GROUP}/{VERSION}"
ORGANISATION, MEMBER = "VirtualOrganisation", "Member"
ORGANISATIONS, MEMBERS = "virtualorganisations", "members"
AUDITED = "audited"
"""The field of a Member's status that says which of its roles the audit log has a line of."""
FINALIZER = f"{GROUP}/authorizer"
"""Of both kinds: they go once what they asked for has."""
HANDLED = "handled"
"""The field in which the authorizer keeps what it has handled, to tell what has changed since."""
Spec = TypeVar("Spec", bound=BaseModel)

_STATUS = {
    "namespace": "Its namespace.",
    "phase": "Ready, or what it is short of.",
    "applied": "Digest of the specification that it has all of.",
    "made": "When its namespace was made.",
    "problem": "What is wrong and what to do.",
    AUDITED: "Roles that the audit log says they were given; with a question mark, perhaps.",
    HANDLED: "What the authorizer has looked at last; its own note.",
}
_KEPT = ("type", "description", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")


class Phase(StrEnum):
    """What `status.phase` says of a VO or a member."""

    READY = "Ready"
    """All is there."""
    WAITING = "Waiting"
    """Something is on its way."""
    REFUSED = "Refused"
    """A person has to look at `status.problem`."""
    PAUSED = "Paused"
    """A person has asked for it to be left alone (`names.ANNOTATION_PAUSED`)."""


def definitions() -> list[Object]:
    """The CustomResourceDefinitions of both."""
    by_name = {"VO": ".spec.name", "Phase": ".status.phase", "Problem": ".status.problem"}
    by_identity = {
        "Identity": ".spec.identity",
        "Roles": ".spec.roles",
        "Namespace": ".status.namespace",
        "Phase": ".status.phase",
        "Problem": ".status.problem",
    }
    return [
        definition(ORGANISATION, ORGANISATIONS, "Cluster", VirtualOrganisationSpec, by_name, _STATUS),
        definition(MEMBER, MEMBERS, "Namespaced", MemberSpec, by_identity, _STATUS),
    ]


def organisation(spec: VirtualOrganisationSpec) -> Object:
    """The object of a VO."""
    return object_of(ORGANISATION, {"name": names.namespace_for(spec.name)}, spec)


def member(vo: str, spec: MemberSpec) -> Object:
    """The object of a member.

    Args:
        vo: the VO's name.
    """
    return object_of(MEMBER, {"name": names.namespace_for(spec.identity), "namespace": names.namespace_for(vo)}, spec)


def organisation_of(obj: Object) -> VirtualOrganisationSpec:
    """What an object says of a VO.

    Raises:
        ValueError: it is none, or has not the name of its namespace.
    """
    return _spec(obj, VirtualOrganisationSpec, "name")


def member_of(obj: Object) -> MemberSpec:
    """What an object says of a member; raises as `organisation_of` does."""
    return _spec(obj, MemberSpec, "identity")


def phase_of(obj: Mapping[str, Any]) -> Phase:
    """How a VO or a member is; waiting, as long as nothing is said that is known here."""
    try:
        return Phase(str((obj.get("status") or {}).get("phase")))
    except ValueError:
        return Phase.WAITING


def digest_of(obj: Object) -> str:
    """Of what it asks for: what its status repeats once all of it is there."""
    offer = (obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_OFFER, "")
    return hashlib.sha256(json.dumps([obj["spec"], offer], sort_keys=True).encode()).hexdigest()[:16]


def waited_for(obj: Object, offer: str) -> Object:
    """The object for a program that waits until all of it is there, made with an offer of that digest."""
    metadata = {**obj["metadata"], "annotations": {names.ANNOTATION_OFFER: offer}}
    digest = digest_of({**obj, "metadata": metadata})
    metadata["annotations"]["pulumi.com/waitFor"] = f"jsonpath={{.status.applied}}={digest}"
    return {**obj, "metadata": metadata}


def made_of(objects: Iterable[Object]) -> list[Object]:
    """What the authorizer will make of a site program's objects, the site's offer and its tenants among them; else nothing."""
    given = list(objects)
    found = [obj for obj in given if obj["kind"] == "ConfigMap" and obj["metadata"]["name"] == offers.CONFIG_MAP]
    if not found:
        return []
    offer = SiteOffer.model_validate_json(found[0]["data"][offers.KEY])
    vos = {obj["metadata"]["name"]: organisation_of(obj) for obj in given if obj["kind"] == ORGANISATION}
    tenants = [Tenant(vo) for vo in vos.values()]
    tenants += [Tenant(vos[obj["metadata"]["namespace"]], member_of(obj)) for obj in given if obj["kind"] == MEMBER]
    return [obj for tenant in tenants for obj in everything(tenant, offer)]


def object_of(kind: str, metadata: Object, spec: BaseModel) -> Object:
    """An object of a kind of ours, spelled as Kubernetes spells."""
    written = _spelled(spec.model_dump(mode="json", exclude_none=True), _camel)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": written}


def read(obj: Object, model: type[Spec]) -> Spec:
    """The specification of an object; raises ValueError where it is not such a one."""
    return model.model_validate(_spelled(obj.get("spec") or {}, _snake))


def _spec(obj: Object, model: type[Spec], key: str) -> Spec:
    found = read(obj, model)
    wanted = names.namespace_for(getattr(found, key))
    if obj["metadata"]["name"] != wanted:
        raise ValueError(f"metadata.name is {obj['metadata']['name']}, and has to be {wanted} for {getattr(found, key)}")
    return found


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


def _spelled(value: Any, spell: Any) -> Any:
    """The value with the names of its fields spelled another way; no specification has names that are data."""
    if isinstance(value, list):
        return [_spelled(item, spell) for item in value]
    if isinstance(value, dict):
        return {spell(key): _spelled(item, spell) for key, item in value.items()}
    return value


def definition(kind: str, plural: str, scope: str, model: type[BaseModel], columns: dict[str, str], says: dict[str, str]) -> Object:
    """The CustomResourceDefinition of a kind.

    Args:
        model: of its specification.
        columns: what `kubectl get` shows, by the column's name.
        says: fields of its status, which are texts, and what each means.
    """
    schema = model.model_json_schema()
    status = {"type": "object", "properties": {key: {"type": "string", "description": text} for key, text in says.items()}}
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "required": ["spec"],
                "properties": {"spec": _structural(schema, schema.get("$defs", {})), "status": status},
            }
        },
        "additionalPrinterColumns": [{"name": name, "type": "string", "jsonPath": path} for name, path in columns.items()],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [version],
        },
    }


def _structural(schema: Object, defs: Object) -> Object:
    """The part of a JSON schema that a CustomResourceDefinition takes: no references, no choice, no defaults."""
    if "$ref" in schema:
        schema = {**defs[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}
    if "anyOf" in schema:
        (some,) = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return _structural({**some, "description": schema.get("description", "")}, defs)
    found = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("type") == "object":
        found["properties"] = {_camel(name): _structural(part, defs) for name, part in schema["properties"].items()}
        if required := [_camel(name) for name in schema.get("required", [])]:
            found["required"] = required
    if schema.get("type") == "array":
        found["items"] = _structural(schema["items"], defs)
    return found
