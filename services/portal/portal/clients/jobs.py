"""Somebody's Jobs, as many as they are: read from the API server's answers as far as they are shown, and no further.

Of a thousand Jobs' metadata nearly all is what Kubernetes notes of who wrote which field. To make objects of that would take longer
than all else that a page does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from primage.clients.cluster import Cluster, Ref
from primage.contract.names import LABEL_MANAGED_BY, LABEL_STACK
from primage.errors import PrimageError

AT_A_TIME = 1000
"""Jobs in one answer with metadata alone: of each a few thousand bytes."""
MOST, MOST_WHOLE = 3000, 300
"""Jobs that are listed, and of those how many whole; the quota of a namespace allows fewer."""
MINE = f"{LABEL_MANAGED_BY}=primage"


class _Labels(msgspec.Struct):
    stack: str = msgspec.field(name=LABEL_STACK, default="")


class _Metadata(msgspec.Struct):
    creationTimestamp: str = ""  # noqa: N815 - the API's own name
    labels: _Labels = msgspec.field(default_factory=_Labels)


class _Item(msgspec.Struct):
    metadata: _Metadata


class _About(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion", default="")
    after: str = msgspec.field(name="continue", default="")


class _Listed(msgspec.Struct):
    metadata: _About
    items: list[_Item] | None = None


class _Whole(msgspec.Struct):
    metadata: _About
    items: list[dict[str, Any]] | None = None


_LISTED, _WHOLE = msgspec.json.Decoder(_Listed), msgspec.json.Decoder(_Whole)


def made_in(cluster: Cluster, namespace: str) -> tuple[list[tuple[str, str]], str]:
    """Of each Job in a namespace that belongs to a stack, the stack's label and when it was made; and the version of that list.

    Raises:
        Refused: who asks may not list them.
        PrimageError: there are more than MOST.
    """
    found: list[tuple[str, str]] = []
    about = _About()
    while len(found) < MOST:
        sent = cluster.listed(_of(namespace), labels=f"{MINE},{LABEL_STACK}", most=AT_A_TIME, metadata=True, after=about.after)
        page = _LISTED.decode(sent)
        about = page.metadata
        found += [(item.metadata.labels.stack, item.metadata.creationTimestamp) for item in page.items or ()]
        if not about.after:
            return found, about.version
    raise PrimageError(f"there are more than {MOST} Jobs in {namespace}", todo="remove some: `primage destroy` takes a run away")


def of_stacks(cluster: Cluster, namespace: str, stacks: Collection[str], version: str = "") -> list[dict[str, Any]]:
    """The Jobs of some stacks, whole.

    Args:
        version: of a list of them that was read before.

    Raises:
        PrimageError: there are more than MOST_WHOLE.
    """
    labels = f"{MINE},{LABEL_STACK} in ({','.join(stacks)})"
    page = _WHOLE.decode(cluster.listed(_of(namespace), labels=labels, most=MOST_WHOLE, newer=version))
    if page.metadata.after:
        raise PrimageError(f"there are more than {MOST_WHOLE} Jobs in {namespace} of these runs", todo="remove some")
    return page.items or []


def _of(namespace: str) -> Ref:
    return Ref("batch/v1", "Job", "", namespace)
