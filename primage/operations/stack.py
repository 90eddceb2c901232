"""A standing stack, whichever engine brought it up: its objects are found on the cluster, by the labels that programs put on them.

A label is anybody's to write on an object of their own. So an app's objects are looked for in its own namespace alone, among the
kinds that apps make, and a site's only where they also carry the label that admission keeps from tenants.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from primage.clients.cluster import Cluster, Object, Ref, Refused, is_leaving
from primage.contract.names import LABEL_COMPONENT, LABEL_MADE_BY, LABEL_STACK, MADE_BY_SITE, stack_label
from primage.engine.ownership import APP_KINDS, SITE_KINDS, STATE_TYPE
from primage.errors import ExitCode, PrimageError
from primage.operations.site import SiteHandle, site_handle
from primage.projects.project import StackName, project_of

JOB = ("batch/v1", "Job")
MOST_OF_A_KIND = 300
"""A run has a few objects of each kind, and a site a few hundred."""


@dataclass(frozen=True)
class StackHandle:
    """A stack to work with.

    Attributes:
        namespace: where an app's objects are; empty for a site, whose objects are anywhere on its cluster.
    """

    name: StackName
    site: SiteHandle
    namespace: str

    @property
    def cluster(self) -> Cluster:
        """The API server of its site."""
        return self.site.cluster

    def owns(self, obj: Object) -> bool:
        """Whether an object is the stack's, as its labels and its place say.

        What a controller made of one (`ownerReferences`), and what an engine keeps of the stack, is not.
        """
        metadata = obj["metadata"]
        labels = metadata.get("labels") or {}
        ours = all(labels.get(key) == value for key, value in self._labels().items())
        here = not self.namespace or metadata.get("namespace") == self.namespace
        return ours and here and not metadata.get("ownerReferences") and obj.get("type") != STATE_TYPE

    def get(self, ref: Ref) -> Object | None:
        """The object, where it is there and the stack's."""
        found = self.cluster.get(ref)
        return found if found and self.owns(found) else None

    def of_kind(self, api_version: str, kind: str) -> list[Object]:
        """The stack's objects of one kind, the oldest first.

        Raises:
            PrimageError: they may not be listed.
        """
        selector = ",".join(f"{key}={value}" for key, value in self._labels().items())
        try:
            listed = self.cluster.list(api_version, kind, self.namespace, labels=selector, most=MOST_OF_A_KIND)
        except Refused as refusal:
            if refusal.status == 404:
                return []
            raise _Hidden(kind, self.name, refusal) from refusal
        return sorted((obj for obj in listed if self.owns(obj)), key=_age)

    def look(self) -> tuple[list[Object], list[str]]:
        """The stack's objects, and the kinds that whoever asks may not list: a member sees no roles, for instance."""
        found, hidden = [], []
        for kind in sorted(APP_KINDS if self.name.app else SITE_KINDS):
            try:
                found += self.of_kind(*kind)
            except _Hidden as error:
                if error.forbidden:
                    hidden.append(error.kind)
                else:
                    raise
        return found, hidden

    def objects(self) -> list[Object]:
        """The stack's objects, as far as whoever asks may list them."""
        return self.look()[0]

    def jobs(self) -> list[Object]:
        """Its jobs, the oldest first; a queue's consumers after its producer, whichever was made first."""
        return sorted(self.of_kind(*JOB), key=lambda job: (job["metadata"].get("labels") or {}).get(LABEL_COMPONENT) == "consumers")

    def _labels(self) -> dict[str, str]:
        of_site = {} if self.name.app else {LABEL_MADE_BY: MADE_BY_SITE}
        return {LABEL_STACK: stack_label(str(self.name)), **of_site}


class _Hidden(PrimageError):
    """Objects of a kind that are not shown."""

    def __init__(self, kind: str, stack: StackName, refusal: Refused) -> None:
        self.kind = kind
        self.forbidden = refusal.status == 403
        super().__init__(
            f"the {kind} objects of {stack} cannot be listed: {refusal.message}",
            todo="use a kubeconfig with the right to list them, or ask the site's operator for it",
        )


def stack_handle(name: StackName) -> StackHandle:
    """The stack called `name`, from the settings of its site alone.

    Raises:
        PrimageError: there is no such site or app, or the site does not serve the VO or the member.
    """
    project_of(name)
    site = site_handle(name.site)
    return StackHandle(name, site, site.place(name.vo, name.user).namespace if name.app else "")


def the_one(found: Iterable[Object], stack: StackName, what: str) -> Object | None:
    """The only one of what was found; None where there is none. What is being deleted does not count: another may have replaced it.

    Raises:
        PrimageError: there are several, so that one of them is somebody else's.
    """
    every = [obj for obj in found if not is_leaving(obj)]
    if len(every) > 1:
        named = ", ".join(str(Ref.of(obj)) for obj in every)
        raise PrimageError(
            f"{stack} has more than one {what}: {named}",
            todo=f"find out who made the other one and remove it, or its label {LABEL_STACK}",
            code=ExitCode.INVALID,
        )
    return every[0] if every else None


def _age(obj: Object) -> tuple[str, str]:
    return str(obj["metadata"].get("creationTimestamp", "")), str(obj["metadata"]["name"])
