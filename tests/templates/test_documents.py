"""TOSCA and RADL documents parse with the parsers IM uses, and call roles that are here."""

import re

import pytest
import yaml
from toscaparser.tosca_template import ToscaTemplate

from radl import radl_parse

INPUTS = {"fe_cpus": "4", "fe_memory": "8", "wn_cpus": "8", "wn_memory": "128", "wn_num": "2"}


@pytest.fixture
def template(repository):
    return ToscaTemplate(str(repository / "tosca/templates/processing-backend.yaml"))


def test_tosca_parses(template):
    assert {node.name for node in template.nodetemplates} == {"front", "wn", "kubernetes_front", "kubernetes_worker"}


def test_tosca_defaults_are_within_their_constraints(template):
    for item in template.inputs:
        for constraint in item.constraints or []:
            constraint.validate(item.default)


def test_tosca_inputs_are_described_and_none_is_a_secret(template):
    for item in template.inputs:
        assert item.description
        assert not re.search("password|token|secret", item.name)


def test_tosca_implementations_exist(repository):
    path = repository / "tosca/types/primage_types.yaml"
    for name, node in yaml.safe_load(path.read_text())["node_types"].items():
        for operation in node.get("interfaces", {}).get("Standard", {}).values():
            if isinstance(operation, dict):
                assert (path.parent / operation["implementation"]).resolve().is_file(), name


def radl_text(repository):
    text = (repository / "radl/processing-backend.radl").read_text()
    return re.sub(r"@input\.(\w+)@", lambda match: INPUTS[match[1]], text)


def test_radl_parses(repository):
    document = radl_parse.parse_radl(radl_text(repository))
    document.check()
    assert {system.name for system in document.systems} == {"front", "wn"}
    assert {deploy.id: deploy.vm_number for deploy in document.deploys} == {"front": 1, "wn": 2}


def test_radl_calls_roles_with_their_own_arguments(repository):
    for recipe in re.findall(r"@begin\n(.*?)@end", radl_text(repository), re.DOTALL):
        for play in yaml.safe_load(recipe):
            accepted = set()
            for item in play["roles"]:
                specs = yaml.safe_load((repository / "roles" / item["role"] / "meta/argument_specs.yml").read_text())
                options = specs["argument_specs"]["main"]["options"]
                required = {name for name, option in options.items() if option.get("required")}
                assert required <= set(play["vars"]), item["role"]
                accepted |= set(options)
            assert set(play["vars"]) <= accepted


def test_both_have_the_same_machines(template, repository):
    computes = {node.name for node in template.nodetemplates if node.type in {"tosca.nodes.Compute", "primage.nodes.WorkerPool"}}
    assert computes == {system.name for system in radl_parse.parse_radl(radl_text(repository)).systems}
