"""The image archive as a site declares it; what runs is tried in tests/integration/test_image_archive.py."""

import json

import pytest
from data_settings import DCM4CHEE, DIGEST
from pydantic import ValidationError

from infra.components import dcm4chee, orthanc
from primage.contract.image_archive import ImageArchiveConfig
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.projects.project import parse_stack_name

FOLDER = {"kind": "folder", "path": "/images"}
SHELF = {"vo": "vo.primage.eu", "title": "ONE", "senders": [{"title": "SCANNER"}]}
ORTHANC = {"certificate": "archive", "server": {"kind": "orthanc", "index": FOLDER, "images": FOLDER}, "shelves": [SHELF]}


@pytest.fixture(scope="module")
def objects():
    found = EmbeddedEngine().render(parse_stack_name("local"), Options())
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in found}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"shelves": []}, "shelves"),
        ({"shelves": [SHELF, {**SHELF, "vo": "other.primage.eu"}]}, "two shelves have one title: ONE"),
        ({"shelves": [SHELF, {**SHELF, "title": "TWO"}]}, "two shelves have one vo"),
        ({"shelves": [{**SHELF, "title": "one"}]}, "an AE title"),
        ({"shelves": [{**SHELF, "title": "A" * 17}]}, "an AE title"),
        ({"shelves": [{**SHELF, "senders": [{"title": "S"}, {"title": "S"}]}]}, "names sender S twice"),
        ({"shelves": [{**SHELF, "senders": [{"title": "S", "may": ["move"]}]}]}, "may"),
        ({"shelves": [{**SHELF, "node_port": 30112}]}, "networks: is required"),
        ({"networks": ["10.0.0.0/8"], "shelves": [{**SHELF, "node_port": 30112, "senders": []}]}, "leads nowhere"),
        ({"authority_folder": "authority"}, "exactly one"),
    ],
)
def test_what_would_let_somebody_in_by_mistake_is_refused(wrong, says):
    with pytest.raises(ValidationError, match=says):
        ImageArchiveConfig.model_validate({**ORTHANC, **wrong})


def test_a_vo_that_the_site_does_not_serve_has_no_shelf():
    shelves = [{**SHELF, "vo": "elsewhere.example.org"}]
    with pytest.raises((PrimageError, ValidationError), match=r"image_archive\.shelves: elsewhere\.example\.org"):
        EmbeddedEngine().render(
            parse_stack_name("local"), Options(overrides={"site.image_archive": {**ORTHANC, "shelves": shelves}})
        )


def test_a_site_without_one_declares_none():
    options = Options(overrides={"site.image_archive": None, "site.clinical_records": None})
    names = {obj["metadata"]["name"] for obj in EmbeddedEngine().render(parse_stack_name("local"), options)}
    assert "keycloak" in names
    assert not {name for name in names if name.startswith(("image-", "clinical-"))}


def test_who_may_do_what_is_what_orthanc_is_told():
    config = ImageArchiveConfig.model_validate(
        {**ORTHANC, "shelves": [{**SHELF, "senders": [{"title": "CT"}, {"title": "WS", "may": ["find", "get"]}]}]}
    )
    told = json.loads(orthanc.told(config)["vo-dot-primage-dot-eu.json"])
    allowed = {
        title: {right.removeprefix("Allow") for right, on in one.items() if right.startswith("Allow") and on}
        for title, one in told["DicomModalities"].items()
    }
    assert allowed == {"CT": {"Echo", "Store"}, "WS": {"Echo", "Find", "Get"}}
    assert not any(on for key, on in told.items() if key.startswith("DicomAlwaysAllow"))
    for always in ("DicomCheckCalledAet", "DicomTlsEnabled", "DicomTlsRemoteCertificateRequired", "AuthenticationEnabled"):
        assert told[always] is True
    for never in ("ExecuteLuaEnabled", "WebDavEnabled", "OrthancExplorerEnabled", "RemoteAccessAllowed", "UnknownSopClassAccepted"):
        assert told[never] is False
    assert "password" not in {str(value).lower() for value in told["RegisteredUsers"].values()}


def test_without_senders_nothing_listens_for_dicom():
    config = ImageArchiveConfig.model_validate({**ORTHANC, "shelves": [{**SHELF, "senders": []}]})
    assert json.loads(orthanc.told(config)["vo-dot-primage-dot-eu.json"])["DicomServerEnabled"] is False


def test_each_shelf_has_a_database_a_folder_and_a_password_of_its_own(objects):
    pod = objects["StatefulSet", "image-archive"]["spec"]["template"]["spec"]
    servers = [one for one in pod["containers"] if one["name"].startswith("orthanc-")]
    secrets = [{variable["valueFrom"]["secretKeyRef"]["name"] for variable in one["env"]} for one in servers]
    assert secrets == [{"image-archive-vo-dot-primage-dot-eu"}, {"image-archive-training-dot-primage-dot-eu"}]
    folders = [mount["subPath"] for one in servers for mount in one["volumeMounts"] if mount["name"] == "images"]
    assert folders == ["vo-dot-primage-dot-eu", "training-dot-primage-dot-eu"]


def test_a_shelf_is_found_by_the_name_of_its_port_not_by_its_number(objects):
    """Else, while a pod with other shelves takes its place, a sender would meet another VO's."""
    pod = objects["StatefulSet", "image-archive"]["spec"]["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for one in pod["containers"] for port in one.get("ports", [])}
    leads = {
        vo: objects["Service", f"image-senders-{vo}-dot-primage-dot-eu"]["spec"]["ports"][0]["targetPort"]
        for vo in ("vo", "training")
    }
    assert [ports[leads[vo]] for vo in ("vo", "training")] == [11112, 11113]


def test_senders_of_an_authority_of_their_own_are_believed_by_it_alone(tmp_path):
    (tmp_path / "senders.crt").write_text("the senders' authority")
    override = {**ORTHANC, "senders_authority": str(tmp_path / "senders.crt")}
    found = EmbeddedEngine().render(parse_stack_name("local"), Options(overrides={"site.image_archive": override}))
    objects = {(obj["kind"], obj["metadata"]["name"]): obj for obj in found}
    assert objects["ConfigMap", "image-senders"]["data"] == {"ca.crt": "the senders' authority"}
    volumes = objects["StatefulSet", "image-archive"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "senders", "configMap": {"name": "image-senders"}} in volumes


@pytest.mark.parametrize("name", ["image", "ldap_image", "database_image", "stores", "index", "images"])
def test_of_dcm4chee_nothing_that_only_the_operator_knows_has_a_default(name):
    server = {key: value for key, value in DCM4CHEE["server"].items() if key != name}
    with pytest.raises(ValidationError, match=name):
        ImageArchiveConfig.model_validate({**DCM4CHEE, "server": server})


def test_dcm4chee_has_one_shelf_and_images_by_digest():
    second = {**DCM4CHEE["shelves"][0], "vo": "training.primage.eu", "title": "OTHER"}
    with pytest.raises(ValidationError, match="DCM4CHEE has one"):
        ImageArchiveConfig.model_validate({**DCM4CHEE, "shelves": [*DCM4CHEE["shelves"], second]})
    server = {**DCM4CHEE["server"], "image": "dcm4che/dcm4chee-arc-psql:5.35.0"}
    with pytest.raises(ValidationError, match="by digest"):
        ImageArchiveConfig.model_validate({**DCM4CHEE, "server": server})


def test_dcm4chee_is_told_who_may_call_and_asks_for_the_password():
    config = ImageArchiveConfig.model_validate(DCM4CHEE)
    told = dcm4chee.told(config)
    changed = {entry.splitlines()[0]: entry for entry in told[dcm4chee.LDIF].strip().split("\n\n")}
    assert "dcmAcceptedCallingAETitle: SCANNER" in changed[f"dn: dicomAETitle=PRIMAGE,{dcm4chee.DEVICE}"]
    assert "dcmAcceptedCallingAETitle: NOBODY" in changed[f"dn: dicomAETitle=AS_RECEIVED,{dcm4chee.DEVICE}"]
    assert "dcmTLSNeedClientAuth: TRUE" in changed[f"dn: cn=dicom-tls,{dcm4chee.DEVICE}"]
    assert "dcmBindAddress: 127.0.0.1" in changed[f"dn: cn=dicom,{dcm4chee.DEVICE}"]
    assert "auth_basic_user_file /tmp/users;" in told["nginx.conf"]
    assert "proxy_pass http://127.0.0.1:8080/dcm4chee-arc/aets/PRIMAGE/rs/;" in told["nginx.conf"]
    assert all(one["image"].endswith(DIGEST) for one in dcm4chee.pod(config, config.server)["initContainers"])


def test_services_find_a_shelf_in_one_way_whatever_is_behind_it():
    for given in (ORTHANC, DCM4CHEE):
        config = ImageArchiveConfig.model_validate(given)
        wanted = "https://image-archive-vo-dot-primage-dot-eu.primage-system.svc:8443/dicom-web"
        assert config.dicom_web("vo.primage.eu") == wanted
        assert "image-archive-vo-dot-primage-dot-eu.primage-system.svc" in config.hosts
