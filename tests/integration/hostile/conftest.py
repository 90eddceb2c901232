"""The standing site, with a hostile member on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile import ACCOUNT, Tenant, member

from primage.clients.cluster import Cluster
from primage.local.site import LocalSite


@pytest.fixture(scope="package")
def tenant(site: LocalSite, kubeconfig: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """A member with `edit` in their own namespace, by a token of an hour."""
    with member(ACCOUNT, kubeconfig, tmp_path_factory.mktemp("tenant")) as found:
        yield found
