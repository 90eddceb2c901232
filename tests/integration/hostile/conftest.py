"""The standing site, with a hostile member on it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hostile import ACCOUNT, SPACE, Tenant, kubectl

from primage.clients.cluster import Cluster
from primage.local.site import LocalSite


@pytest.fixture(scope="package")
def tenant(site: LocalSite, kubeconfig: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """A member with `edit` in their own namespace, by a token of an hour."""

    def admin(*arguments: str) -> str:
        done = kubectl(*arguments, kubeconfig=kubeconfig)
        assert done.returncode == 0 or "already exists" in done.stderr, done.stderr
        return done.stdout

    admin("create", "serviceaccount", ACCOUNT, "-n", SPACE)
    admin("create", "rolebinding", ACCOUNT, "-n", SPACE, "--clusterrole=edit", f"--serviceaccount={SPACE}:{ACCOUNT}")
    token = admin("create", "token", ACCOUNT, "-n", SPACE, "--duration=1h").strip()
    known = json.loads(admin("config", "view", "--raw", "--minify", "-o", "json"))["clusters"][0]["cluster"]
    path = tmp_path_factory.mktemp("tenant") / "kubeconfig"
    path.touch(mode=0o600)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tenant",
        "clusters": [{"name": "site", "cluster": known}],
        "users": [{"name": "tenant", "user": {"token": token}}],
        "contexts": [{"name": "tenant", "context": {"cluster": "site", "user": "tenant", "namespace": SPACE}}],
    }
    path.write_text(json.dumps(config))
    yield Tenant(SPACE, str(path), kubeconfig)
    admin("delete", "rolebinding", ACCOUNT, "-n", SPACE)
    admin("delete", "serviceaccount", ACCOUNT, "-n", SPACE)
