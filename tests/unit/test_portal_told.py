"""What the site program tells the portal: as much as its pages and the programs that it starts need, and no secret."""

import json

import yaml

from infra.config import SiteConfig
from infra.outputs import portal_files, portal_settings
from primage.contract.images import Images
from primage.contract.portal import IMAGES, SITE_FILE

IMAGE = "10.89.77.11:5000/primage/base@sha256:" + "1f" * 32


def test_programs_in_the_portal_read_the_same_site_and_reach_it_by_what_they_are_given(repository):
    config = SiteConfig.model_validate(yaml.safe_load((repository / "Pulumi.local.yaml").read_text())["config"]["primage:site"])
    files = portal_files(config, Images(registry="10.89.77.11:5000", pinned={"primage/base:1": IMAGE}))
    again = SiteConfig.model_validate(yaml.safe_load(files[SITE_FILE])["config"]["primage:site"])
    changed = {"cluster": again.cluster, "images": again.images, "vos": again.vos}
    assert again == config.model_copy(update=changed)
    assert [vo.model_copy(update={"users": ()}) for vo in config.vos] == list(again.vos), "members are found on the cluster"
    assert again.cluster.kubeconfig == ""
    assert again.images.references == f"/run/portal/site/{IMAGES}"
    assert json.loads(files[IMAGES]) == {"primage/base:1": IMAGE}
    told = portal_settings("local", config)
    assert told.redirect == "https://10.89.77.11:30444/login/done"
    assert told.gateway
    assert told.gateway.address("space", "notebook") == "https://space.primage.localhost:30445/notebook/"
    assert told.vos == ("vo.primage.eu", "training.primage.eu")
