"""The same programs through the Pulumi CLI: the same live objects, field by field."""

import shutil

import pytest

from primage.clients.cluster import Ref
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.embedded.objects import differences
from primage.engine.engine import EngineKind, Options, choose_engine

NAMESPACE = "primage-engine-test"
pytestmark = [
    pytest.mark.pulumi,
    pytest.mark.skipif(
        shutil.which("pulumi") is None, reason="the Pulumi CLI is not installed, so there is nothing to compare with"
    ),
]
BODY = """
kubernetes.core.v1.ConfigMap('c', metadata=meta('c'), data={'a': '1'}, opts=on(space))
kubernetes.core.v1.ResourceQuota('q', metadata=meta('q'), spec={'hard': {'pods': '5'}}, opts=on(space))
job('j', 'true')
"""
REFS = [
    Ref("v1", "ConfigMap", "c", NAMESPACE),
    Ref("v1", "ResourceQuota", "q", NAMESPACE),
    Ref("batch/v1", "Job", "j", NAMESPACE),
]
NOT_OURS = ("metadata.annotations", "metadata.labels", "spec.selector", "spec.template.metadata")


@pytest.fixture
def backend(tmp_path, monkeypatch):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "only for this test")
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")


def test_both_engines_make_the_same_objects(program, cluster, backend):
    name = program(BODY)
    EmbeddedEngine().up(name, Options())
    ours = [cluster.get(ref) for ref in REFS]
    EmbeddedEngine().destroy(name, Options())
    pulumi = choose_engine(EngineKind.PULUMI)
    pulumi.up(name, Options())
    try:
        for ref, mine in zip(REFS, ours, strict=True):
            found = [c for c in differences(mine, cluster.get(ref)) if not c.path.startswith(NOT_OURS)]
            assert found == [], ref
        assert pulumi.up(name, Options()).changed() == []
    finally:
        pulumi.destroy(name, Options())
