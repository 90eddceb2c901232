"""The desktop's settings, what its X server and pages are told, and that its program is a session's as any other."""

import json
import subprocess

import pytest
from pydantic import ValidationError

from primage.components.sessions.desktop import desktop
from primage.components.sessions.session_settings import DesktopSettings
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.local.images.catalogue import DESKTOP, app_images, images_on_demand
from primage.local.site import LocalSite
from primage.projects.project import parse_stack_name


def told(**settings):
    """The X server's options, and the script."""
    serving = desktop(DesktopSettings(**settings))
    return dict(zip(serving.args[::2], serving.args[1::2], strict=True)), serving.command[2]


@pytest.mark.parametrize(
    "wrong",
    [{"width": 639}, {"width": 3841}, {"height": 479}, {"height": 2161}, {"folder": "HOME/../x"}, {"idle_seconds": 9}, {"vnc": 1}],
)
def test_a_setting_out_of_bounds_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        DesktopSettings(**wrong)


def test_the_x_server_listens_on_one_socket_of_its_own():
    options, _ = told(width=1024, height=768)
    assert options["-rfbport"] == "-1"
    assert options["-rfbunixpath"].startswith("/tmp/desktop/")
    assert options["-nolisten"] == "local"
    assert options["-geometry"] == "1024x768"


@pytest.mark.parametrize(("allowed", "said"), [(True, "1"), (False, "0")])
def test_the_clipboard_is_shut_both_ways_and_no_program_opens_it_again(allowed, said):
    options, _ = told(clipboard=allowed)
    assert (options["-AcceptCutText"], options["-SendCutText"]) == (said, said)
    assert options["-AllowOverride"] == "desktop"


@pytest.mark.parametrize(("wanted", "page", "accepted"), [(True, "resize=remote", "1"), (False, "resize=scale", "0")])
def test_the_page_and_the_x_server_agree_on_who_says_how_large_the_screen_is(wanted, page, accepted):
    options, script = told(resize=wanted)
    assert options["-AcceptSetDesktopSize"] == accepted
    assert page in script


def test_its_script_is_one_and_nothing_is_left_to_fill_in():
    _, script = told()
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=30, check=False).stderr == ""
    for word in ("PREPARE", "LET_IN", "CONFIGURATION", "SERVER", "WEBSOCKIFY_PORT", "RESIZE"):
        assert word not in script


def shape(app):
    """What an app's program declares, without names and without what its container is and is told."""
    found = EmbeddedEngine().render(parse_stack_name(f"{app}/vo.primage.eu.local"), Options())
    (job,) = [obj for obj in found if obj["kind"] == "Job"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    told_by_kubernetes = {variable["name"] for variable in container["env"]}
    assert {"MOUNT_POINT", "HOME", "PRIMAGE_BASE_PATH", "PRIMAGE_TOKEN_FILE"} <= told_by_kubernetes
    for name in ("command", "args", "image", "env", "ports", "resources", "startupProbe"):
        assert container.pop(name)
    del job["metadata"]["annotations"]["primage.eu/opens"]
    # The login before it leads to another port.
    pod["initContainers"] = [login["name"] for login in pod["initContainers"]]
    for obj in found:
        # Another one for each.
        obj.get("data", {}).pop("ca.crt", None)
    return sorted(json.loads(json.dumps(found).replace(app, "APP")), key=lambda obj: (obj["kind"], obj["metadata"]["name"]))


def test_what_its_program_declares_is_a_notebooks_with_another_container():
    """So what both engines make of that one they make of this (tests/integration/engines/test_apps.py)."""
    assert shape("desktop") == shape("notebook")


def test_no_site_has_its_image_unless_it_is_asked_for(repository, tmp_path):
    every = {image.name for image in app_images(repository, lambda _: tmp_path)}
    assert DESKTOP not in every
    assert [image.name for image in images_on_demand()["desktop"]] == [DESKTOP]


def test_what_is_not_built_on_demand_is_named(repository, monkeypatch):
    monkeypatch.setattr("primage.local.site.require_host", lambda: None)
    with pytest.raises(PrimageError, match=r"no image is built for 'web'.*name one of desktop"):
        LocalSite(repository).images_for("web")
