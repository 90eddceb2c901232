"""Every app's program through both engines on the standing site: the same objects, nothing to change, nothing left."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from both_engines import owned, require_same
from turns import turn

from primage.contract.names import LABEL_STACK, SYSTEM_NAMESPACE
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.ownership import APP_KINDS
from primage.projects.project import parse_stack_name

VO = "vo.primage.eu"
RUN = "engines"
SMALL_STUDY = {"study.stage": "train", "study.epochs": "1", "study.stride": "50", "study.test_stride": "50", "study.out": "engines"}
APPS = {"batch": {}, "hpc": {}, "htc": {}, "notebook": {}, "study-histology": SMALL_STUDY, "web": {}}
LIKE_NOTEBOOK = {"desktop"}
"""Programs that declare what the notebook's does (tests/unit/test_desktop.py), and run an image that takes a minute to build."""
AT_A_TIME = 3


def test_every_app_is_here(repository):
    assert {*APPS, *LIKE_NOTEBOOK} == {path.parent.name for path in (repository / "apps").glob("*/Pulumi.yaml")}


class Trial:
    """One app's stack, brought up by one engine, moved to the other, destroyed, and brought up by that."""

    def __init__(self, app, primage, cluster):
        self.stack = f"{app}/{VO}.local--{RUN}"
        self.settings = [part for key, value in APPS[app].items() for part in ("--config", f"{key}={value}")]
        self.primage = primage
        self.objects = lambda: owned(cluster, self.stack, APP_KINDS)

    def up(self, engine):
        self.primage("up", self.stack, "--engine", engine, *self.settings)
        return self.objects()

    def destroy(self):
        self.primage("destroy", self.stack, "--engine", "pulumi")
        return self.objects()

    def run(self):
        ours = self.up("embedded")
        self.primage("move", self.stack, "--to", "pulumi", *self.settings)
        refused = self.primage("preview", self.stack, "--engine", "embedded", *self.settings, fails=True)
        left_by_move = self.destroy()
        pulumis = self.up("pulumi")
        again = self.primage("preview", self.stack, "--engine", "pulumi", *self.settings)
        return {
            "ours": ours,
            "pulumis": pulumis,
            "refused": refused["error"]["what"],
            "changes": again["changes"],
            "left": {**left_by_move, **self.destroy()},
        }


@pytest.fixture(scope="module")
def trials(with_site, cluster):
    """All of them, side by side."""
    every = {app: Trial(app, with_site, cluster) for app in APPS}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        ended = {app: pool.submit(trial.run) for app, trial in every.items()}
        yield ended
    for app, trial in every.items():
        if ended[app].exception():
            trial.destroy()


@pytest.mark.parametrize("app", APPS)
def test_both_engines_make_the_same_objects_and_leave_none(trials, app):
    done = trials[app].result()
    require_same(app, done["ours"], done["pulumis"])
    assert done["changes"] == [], "a second preview changes nothing"
    assert "Pulumi's engine" in done["refused"], "what was moved is the embedded engine's no more"
    assert done["left"] == {}


@pytest.mark.quiet
def test_the_standing_site_is_what_pulumi_would_make_of_its_file(with_site, cluster):
    seen = with_site("preview", "local", "--engine", "pulumi")
    assert (seen["changes"], set(seen["counts"])) == ([], {"same"})
    # Of what is generated, no rendered object says the content.
    generated = cluster.list("v1", "Secret", SYSTEM_NAMESPACE, labels=f"{LABEL_STACK}=local")
    assert seen["counts"]["same"] == len(EmbeddedEngine().render(parse_stack_name("local"), Options())) + len(generated)


@pytest.mark.quiet
def test_the_site_passes_its_checks_when_pulumi_has_it(with_site):
    with turn("check"):
        checks = with_site("check", "local")
    assert [check for check in checks["checks"] if not check["ok"]] == []
