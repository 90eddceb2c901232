"""The file `primage site new` writes."""

import re
import shutil
from dataclasses import replace

import pytest
import yaml

from primage.errors import PrimageError
from primage.operations.new_site import NewSite, write_site
from primage.projects.validation import validate_repository

SITE = NewSite(
    "second",
    "vo.example.org",
    20003,
    "on-premises",
    "/etc/primage/second.kubeconfig",
    "/srv/lake",
    "/srv/home",
    "registry.example.org:5000",
)


@pytest.fixture
def checkout(repository, tmp_path):
    """A repository with nothing but the site program."""
    shutil.copytree(repository / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "Pulumi.yaml", tmp_path)
    return tmp_path


def test_what_a_new_sites_file_has_as_comments_is_valid_too(checkout):
    path = write_site(checkout, SITE)
    path.write_text(re.sub(r"(?m)^    # ( *- |[a-z_]+:$| +[a-z_]+:)", r"    \1", path.read_text()))
    found = yaml.safe_load(path.read_text())["config"]["primage:site"]
    assert {"priority_classes", "hpc", "network"} <= set(found)
    assert validate_repository(checkout, ["second"])[1] == []


def test_a_new_sites_file_is_valid_as_it_stands(checkout):
    assert write_site(checkout, SITE).name == "Pulumi.second.yaml"
    assert validate_repository(checkout, ["second"]) == (["second"], [])


def test_a_site_that_is_there_is_not_overwritten(checkout):
    written = write_site(checkout, SITE).read_text()
    with pytest.raises(PrimageError, match="already"):
        write_site(checkout, replace(SITE, gid=20004))
    assert (checkout / "Pulumi.second.yaml").read_text() == written


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vo", "No VO"),
        ("vo", "a: [b"),
        ("gid", 1),
        ("kind", "moon"),
        ("datalake", "not/absolute"),
        ("home", "/srv/lake/in"),
        ("registry", "https://registry.example.org"),
        ("name", "../x"),
    ],
)
def test_what_is_not_valid_leaves_no_file(checkout, field, value):
    with pytest.raises(PrimageError):
        write_site(checkout, replace(SITE, **{field: value}))
    assert not list(checkout.glob("Pulumi.*.yaml"))
