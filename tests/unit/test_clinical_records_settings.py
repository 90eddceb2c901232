"""The records' database as a site declares it; what runs is tried in tests/integration/test_clinical_records.py."""

import base64

import pytest
from cryptography import x509
from data_settings import MONGODB
from pydantic import ValidationError

from primage.components.certificates import new_authority
from primage.components.client_certificate import ClientCertificateProvider
from primage.contract.records import RecordsConfig
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.local.data import data_images, data_tools, keeps_data
from primage.projects.project import parse_stack_name


@pytest.fixture(scope="module")
def objects():
    found = EmbeddedEngine().render(parse_stack_name("local"), Options(overrides={"site.clinical_records": MONGODB}))
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in found if obj["metadata"]["name"].startswith("clinical-records")}


@pytest.mark.parametrize(
    "wrong",
    [{"image": "mongo:8"}, {"kept": {"kind": "folder", "path": "/records"}}, {"backup": {"schedule": "daily", "kept": {}}}],
)
def test_what_is_not_pinned_or_not_on_a_disk_of_its_own_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RecordsConfig.model_validate({**MONGODB, "server": {**MONGODB["server"], **wrong}})


def test_the_service_connects_to_every_member_by_tls():
    url = RecordsConfig.model_validate(MONGODB).url
    assert url.count(":27017") == 3
    assert "tls=true" in url
    assert "replicaSet=records" in url
    alone = {"certificate": "x", "server": {"kind": "ferretdb", "kept": {"kind": "folder", "path": "/records"}}}
    assert RecordsConfig.model_validate(alone).url == (
        "mongodb://clinical-records.primage-system.svc:27017/?tls=true&journal=true&authSource=admin&directConnection=true"
    )


def test_members_take_tls_and_logins_alone(objects):
    spec = objects["StatefulSet", "clinical-records"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    (command,) = container["command"][2:]
    for wanted in ("--tlsMode requireTLS", "--keyFile", "SCRAM-SHA-256", "--replSet records"):
        assert wanted in command
    assert spec["replicas"] == 3
    assert {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]} == {"records"}


def test_what_is_dumped_is_elsewhere_than_the_records(objects):
    claim = objects["PersistentVolumeClaim", "clinical-records-backup"]["spec"]
    assert claim["storageClassName"] == "large"
    dump = objects["CronJob", "clinical-records-backup"]["spec"]
    assert (dump["schedule"], dump["concurrencyPolicy"]) == ("30 2 * * *", "Forbid")
    (container,) = dump["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert "--password" not in container["command"][2]


def test_what_runs_beside_the_members_is_none_of_them(objects):
    chosen = objects["StatefulSet", "clinical-records"]["spec"]["selector"]["matchLabels"]
    assert objects["Service", "clinical-records"]["spec"]["selector"] == chosen
    for obj in objects.values():
        if obj["kind"] in {"Job", "CronJob"}:
            template = obj["spec"].get("jobTemplate", obj)["spec"]["template"]
            assert not chosen.items() <= template["metadata"]["labels"].items()


def test_another_job_begins_what_is_declared_in_another_way():
    names = set()
    for image in (MONGODB["server"]["image"], MONGODB["server"]["image"].replace("ab", "cd")):
        given = {**MONGODB, "server": {**MONGODB["server"], "image": image}}
        found = EmbeddedEngine().render(parse_stack_name("local"), Options(overrides={"site.clinical_records": given}))
        names |= {obj["metadata"]["name"] for obj in found if obj["kind"] == "Job"}
    assert len(names) == 2


def secret(values):
    return {"data": {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}}


def test_the_client_has_the_one_certificate_of_an_authority_that_nobody_keeps():
    provider = ClientCertificateProvider()
    made, again = (provider.make({"secret": "clinical-records-client", "client": "datasets"}) for _ in range(2))
    assert set(made) == {"ca.crt", "client.pem"}
    authority = x509.load_pem_x509_certificate(made["ca.crt"].encode())
    x509.load_pem_x509_certificate(made["client.pem"].encode()).verify_directly_issued_by(authority)
    assert "PRIVATE KEY" in made["client.pem"]
    assert "PRIVATE KEY" not in made["ca.crt"]
    assert again["ca.crt"] != made["ca.crt"]
    assert not provider.outdated(secret(made))
    assert provider.outdated(secret({"ca.crt": new_authority("another").pem}))


@pytest.mark.parametrize(
    ("images", "records", "built", "tools"),
    [
        ("orthanc", "nx-27017", ["primage/orthanc:1", "primage/nx-27017:1"], []),
        ("orthanc", "ferretdb", ["primage/orthanc:1", "primage/ferretdb:1"], ["FerretDB"]),
        ("dcm4chee", "mongodb", [], []),
        (None, None, [], []),
    ],
)
def test_only_what_a_site_names_is_built_for_it(repository, tmp_path, images, records, built, tools):
    named = {"image_archive": images, "clinical_records": records}
    settings = {key: {"server": {"kind": kind}} for key, kind in named.items() if kind}
    assert [image.name for image in data_images(settings, repository, lambda _: tmp_path)] == built
    assert [one.title for one in data_tools(settings)] == tools
    assert keeps_data(settings) is bool(built)
