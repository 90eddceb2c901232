"""What is rendered of declarations, and how a program's declarations are taken in, with no cluster."""

import threading

import pytest
from declared import config_map, declared, declared_dynamic, registration

from primage.components.dynamic_providers import SESSION_TOKEN
from primage.engine.api import Options
from primage.engine.embedded import renderer as rendering
from primage.engine.embedded.failures import Failures
from primage.engine.embedded.intake import Intake, Stopped
from primage.engine.embedded.renderer import Rendered, Renderer, offline_outputs_for
from primage.engine.ownership import Scope
from primage.errors import ExitCode, PrimageError
from primage.projects.connection import Connection
from primage.projects.project import StackName, parse_stack_name

BATCH = parse_stack_name("batch/vo.primage.eu.local")
PROVIDER = "pulumi:providers:kubernetes"


def test_an_object_is_kept_with_its_secrets_masked_and_has_no_id_yet():
    renderer = Renderer()
    seen = renderer.take_object(declared(config_map(open="seen", key="hunter2"), secrets=[("data", "key")]))
    assert [obj["data"] for obj in renderer.objects] == [{"open": "seen", "key": "[secret]"}]
    assert (seen.id, seen.properties["data"]["key"]) == ("", "hunter2"), "the program itself goes on with the value"


def test_a_dynamic_resource_is_no_object():
    renderer = Renderer()
    assert renderer.take_dynamic(declared_dynamic({"a": 1}, None, SESSION_TOKEN)).properties == {"a": 1}
    assert renderer.objects == []


def test_offline_an_app_reads_what_its_sites_program_gives_and_nothing_else(monkeypatch):
    asked = []

    def render(name, options):
        asked.append((name, options))
        return Rendered([], {"site": {"mount_point": "/mnt"}})

    monkeypatch.setattr(rendering, "render", render)
    read = offline_outputs_for(BATCH)
    assert asked == [(StackName("local"), Options())], "before the app's program is run"
    assert read(StackName("local")) == {"site": {"mount_point": "/mnt"}}
    with pytest.raises(PrimageError, match="refers to stack other"):
        read(StackName("other"))
    assert offline_outputs_for(StackName("local"))
    assert len(asked) == 1, "a site refers to nothing"


# -- taking in -------------------------------------------------------------------------------------------------------


class Keeps:
    """A worker that keeps what it is given, and fails for what is called `bad`."""

    def __init__(self):
        self.objects, self.dynamics = {}, []

    def take_object(self, given):
        if given.registration.name == "bad":
            raise PrimageError("it is bad", code=ExitCode.UNREACHABLE)
        self.objects[given.registration.name] = given
        return Renderer().take_object(given)

    def take_dynamic(self, given):
        self.dynamics.append(given)
        return given.registered()


@pytest.fixture
def intake():
    return Intake(Keeps(), Scope(), lambda name: {"of": str(name)}, Failures())


def test_each_kind_goes_where_it_belongs(intake):
    provider = registration({"kubeconfig": "/k", "context": "c"}, PROVIDER, name="cluster")
    intake.register(registration({"a": 1}, "primage:app:Group", custom=False, name="group"))
    intake.register(provider)
    intake.register(registration(config_map(), provider=provider.urn))
    intake.register(registration({"namespace": "n"}, SESSION_TOKEN, name="token"))
    assert [*intake.worker.objects] == ["c"]
    assert intake.worker.objects["c"].connection == Connection("/k", "c")
    assert [given.name for given in intake.worker.dynamics] == ["token"]


def test_what_depends_on_another_comes_after_it_and_a_level_higher(intake):
    first, second = registration(config_map("a")), None
    intake.register(first)
    second = registration(config_map("b"), dependencies=(first.urn,))
    intake.register(second)
    a, b = (intake.worker.objects[name] for name in "ab")
    assert a.order < b.order
    assert a.level < b.level


def test_no_two_of_many_at_once_have_the_same_place(intake):
    many = [registration(config_map(f"c{number}")) for number in range(200)]
    start = threading.Barrier(8)

    def register(mine):
        start.wait()
        for item in mine:
            intake.register(item)

    threads = [threading.Thread(target=register, args=(many[part::8],)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given.order for given in intake.worker.objects.values()) == list(range(1, 201))


def test_after_a_failure_nothing_more_is_started_and_that_is_no_failure_of_its_own(intake):
    with pytest.raises(PrimageError, match="it is bad"):
        intake.register(registration(config_map("bad")))
    with pytest.raises(Stopped, match="c was not started because another resource failed"):
        intake.register(registration(config_map()))
    assert intake.failures.together().what == "it is bad"
    assert intake.failures.together().code is ExitCode.UNREACHABLE


def test_all_failures_are_said_together():
    failures = Failures()
    assert not failures
    for words in ("one thing", "another thing"):
        failures.note(PrimageError(words, code=ExitCode.UNSUPPORTED))
    failures.note(PrimageError("one thing", code=ExitCode.UNSUPPORTED))
    assert failures.together().what == "one thing.\nanother thing.", "what several resources met alike is said once"
    assert failures.together().code is ExitCode.UNSUPPORTED


def test_an_app_may_declare_objects_in_its_own_namespace_alone(intake):
    intake.scope = Scope("n")
    intake.register(registration(config_map()))
    with pytest.raises(PrimageError, match="is not in n, the stack's own namespace"):
        intake.register(registration(config_map("d", "other")))


def test_a_stack_is_read_by_its_full_name(intake):
    assert intake.read_stack("organization/primage/local") == {"of": "local"}
    assert intake.read_stack("organization/primage-batch/vo.primage.eu.local") == {"of": "batch/vo.primage.eu.local"}
    with pytest.raises(PrimageError, match="no project here is called nowhere"):
        intake.read_stack("organization/nowhere/local")
    assert intake.failures
