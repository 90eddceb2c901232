"""The image archive as a site has it, without a site: what sends images, and what reads them, meets the pod that is declared.

PRIMAGE_ARCHIVE_URL names another server's shelf in place of that pod, such as DCM4CHEE's, by its address of DICOMweb;
PRIMAGE_ARCHIVE_PASSWORD and PRIMAGE_ARCHIVE_AUTHORITY (a file) say how to get in. What holds of every archive is then tested there.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from debian import ensure_program
from dicomweb_client.api import DICOMwebClient
from pod_here import PodHere
from pydicom.data import get_testdata_file
from turns import turn

from infra.components import orthanc
from primage.components.certificates import Authority, new_authority
from primage.contract import names
from primage.contract.image_archive import PASSWORD_KEY, USER, WEB_PATH, WEB_PORT, ImageArchiveConfig, shelf_host
from primage.local.images.build import ensure_images
from primage.local.images.catalogue import archive_image, postgresql_image, web_image
from primage.paths import repository_root

pytestmark = pytest.mark.apart

ONE, OTHER = "vo.example.org", "other.example.org"
FILES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "SC_rgb_small_odd.dcm")
"""Of pydicom: two that anything takes, one that is compressed, and one with an odd number of bytes in a row."""
ARCHIVE = {
    "authority_folder": "authority",
    "server": {
        "kind": "orthanc",
        "index": {"kind": "folder", "path": "/index"},
        "images": {"kind": "folder", "path": "/images"},
    },
    "shelves": [
        {
            "vo": ONE,
            "title": "ONE",
            "senders": [{"title": "SCANNER"}, {"title": "STATION", "may": ["store", "find", "get"]}],
        },
        {"vo": OTHER, "title": "OTHER", "senders": [{"title": "SCANNER"}]},
    ],
}


@dataclass
class Standing:
    """An archive that runs: where its shelves are, how to get in, and the pod, where it is ours."""

    urls: dict[str, str]
    passwords: dict[str, str]
    authority: str
    pod: PodHere | None = None
    keys: Path = Path()

    def client(self, vo: str = ONE, password: str = "") -> DICOMwebClient:
        """A client of DICOMweb."""
        return DICOMwebClient(self.urls[vo], session=self.session(vo, password))

    def session(self, vo: str = ONE, password: str = "") -> requests.Session:
        """The same for whatever else is asked there; under the name that the certificate is for."""
        session = requests.Session()
        session.auth = (USER, password or self.passwords[vo])
        session.verify = self.authority
        session.trust_env = False
        return session

    def dicom(self, program: str, *arguments: str, by: str = "SCANNER", called: str = "ONE", shows: str = "sender") -> Any:
        """Run a program of dcmtk in the pod's network.

        Args:
            by, called: AE titles.
            shows: whose certificate it has; `nobody` for none, `plain` for no TLS.
        """
        assert self.pod
        number = [shelf["title"] for shelf in ARCHIVE["shelves"]].index(called) if called in {"ONE", "OTHER"} else 0
        tls = ["--enable-tls", str(self.keys / shows / "tls.key"), str(self.keys / shows / "tls.crt")]
        tls = {"plain": [], "nobody": ["--anonymous-tls"]}.get(shows, tls)
        if shows != "plain":
            tls += ["--add-cert-file", str(self.keys / "server" / "ca.crt")]
        where = ["127.0.0.1", str(orthanc.DICOM + number)]
        return self.pod.inside(program, *tls, "-aet", by, "-aec", called, *where, *arguments)


@pytest.fixture(scope="module", autouse=True)
def _dcmtk() -> None:
    """Debian's dcmtk, which sends as scanners do."""
    ensure_program("storescu", "dcmtk")


def _written(folder: Path, authority: Authority, hosts: list[str]) -> dict[str, str]:
    """A certificate, as a Secret has it, also in a folder."""
    folder.mkdir(parents=True)
    found = authority.issue(hosts)
    for name, text in found.items():
        (folder / name).write_text(text)
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """The pod that the site's program declares, or another server that somebody has named."""
    folder = tmp_path_factory.mktemp("archive")
    if url := os.environ.get("PRIMAGE_ARCHIVE_URL"):
        password = os.environ["PRIMAGE_ARCHIVE_PASSWORD"]
        yield Standing(
            {ONE: url}, {ONE: password}, os.environ.get("PRIMAGE_ARCHIVE_AUTHORITY", ssl.get_default_verify_paths().cafile or "")
        )
        return
    config = ImageArchiveConfig.model_validate(ARCHIVE)
    authority, stranger = new_authority("a site"), new_authority("somebody else")
    served = _written(folder / "server", authority, [*config.hosts, "localhost"])
    _written(folder / "sender", authority, ["scanner.example.org"])
    _written(folder / "stranger", stranger, ["scanner.example.org"])
    _built(folder)
    passwords = {shelf.vo: f"password-of-{shelf.vo}" for shelf in config.shelves}
    shelves = {s.secret: {PASSWORD_KEY: passwords[s.vo], orthanc.DATABASE_PASSWORD_KEY: f"index-of-{s.vo}"} for s in config.shelves}
    whole = {orthanc.DATABASE_PASSWORD_KEY: "all-indexes"}
    known = {config.certificate_secret: served, names.IMAGE_ARCHIVE: whole, **shelves}
    spec = orthanc.pod(config, config.server)  # type: ignore[arg-type]  # of that kind
    with (
        PodHere(spec, folder / "volumes", {names.IMAGE_ARCHIVE: orthanc.told(config)}, known) as pod,
        pod.port(WEB_PORT) as port,
        pytest.MonkeyPatch.context() as patch,
    ):
        _lead(patch, {shelf_host(shelf.vo) for shelf in config.shelves})
        urls = {shelf.vo: f"https://{shelf_host(shelf.vo)}:{port}{WEB_PATH}" for shelf in config.shelves}
        yield Standing(urls, passwords, str(folder / "server" / "ca.crt"), pod, folder)


def _built(folder: Path) -> None:
    """The images, which a site that keeps any has already."""
    wanted = [postgresql_image(repository_root()), archive_image(), web_image()]
    with turn("archive-images"):
        ensure_images(wanted, repository=repository_root(), log=folder / "images.log")


def _lead(patch: pytest.MonkeyPatch, hosts: set[str]) -> None:
    """Have names of the cluster lead to this machine's loopback."""
    import socket

    usual = socket.getaddrinfo
    patch.setattr(
        socket, "getaddrinfo", lambda host, *more, **others: usual("127.0.0.1" if host in hosts else host, *more, **others)
    )


@pytest.fixture(scope="module")
def files() -> list[str]:
    return [str(get_testdata_file(name)) for name in FILES]


ours = pytest.mark.skipif("PRIMAGE_ARCHIVE_URL" in os.environ, reason="of the pod that is declared here")


def test_what_is_stored_by_dicom_web_is_found_and_comes_back_as_it_was(archive, files):
    sent = [pydicom.dcmread(path) for path in files]
    answer = archive.client().store_instances(sent)
    assert len(answer.ReferencedSOPSequence) == len(sent)
    found = {str(one["0020000D"]["Value"][0]) for one in archive.client().search_for_studies()}
    assert {str(one.StudyInstanceUID) for one in sent} <= found
    for one in sent:
        there = archive.client().retrieve_instance(one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        assert there.PixelData == one.PixelData
        assert there.file_meta.TransferSyntaxUID == one.file_meta.TransferSyntaxUID
        (described,) = archive.client().retrieve_study_metadata(one.StudyInstanceUID)
        assert described["00080018"]["Value"] == [one.SOPInstanceUID]


def test_filters_find_by_what_is_in_the_header(archive, files):
    archive.client().store_instances([pydicom.dcmread(path) for path in files])
    scan = pydicom.dcmread(files[0])
    (found,) = archive.client().search_for_studies(search_filters={"PatientID": str(scan.PatientID)})
    assert found["0020000D"]["Value"] == [scan.StudyInstanceUID]
    assert archive.client().search_for_studies(search_filters={"PatientID": "nobody"}) == []


def test_nobody_gets_in_without_the_password_of_that_shelf(archive):
    for password in ("", "wrong", archive.passwords.get(OTHER, "wrong")):
        session = archive.session(password="x")
        session.auth = (USER, password) if password else None
        assert session.get(f"{archive.urls[ONE]}/studies").status_code == 401


@ours
def test_a_shelf_has_what_was_sent_there_and_nothing_else(archive, files):
    archive.client(OTHER).store_instances([pydicom.dcmread(files[1])])
    (only,) = archive.client(OTHER).search_for_studies()
    assert only["0020000D"]["Value"] == [pydicom.dcmread(files[1]).StudyInstanceUID]
    other = pydicom.dcmread(files[0])
    asked = f"{archive.urls[OTHER]}/studies/{other.StudyInstanceUID}"
    assert archive.session(OTHER).get(asked, headers={"Accept": 'multipart/related; type="application/dicom"'}).status_code == 404


@ours
@pytest.mark.parametrize(
    "path", ["modalities", "tools/execute-script", "tools/shutdown", "plugins", "jobs", "app/explorer.html", "peers"]
)
def test_what_services_do_not_need_is_refused_to_them_too(archive, path):
    base = archive.urls[ONE].removesuffix(WEB_PATH)
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert archive.session().request(method, f"{base}/{path}", data="").status_code == 403, method
    assert archive.session().get(f"{archive.urls[ONE]}/servers").status_code == 403


@ours
def test_a_host_without_a_shelf_leads_nowhere(archive):
    headers = {"Host": "somewhere.example.org"}
    assert archive.session().get(f"{archive.urls[ONE]}/studies", headers=headers).status_code == 421


@ours
def test_a_service_takes_away_what_has_to_go(archive, files):
    scan = pydicom.dcmread(files[3])
    archive.client().store_instances([scan])
    base = archive.urls[ONE].removesuffix(WEB_PATH)
    (found,) = archive.session().post(f"{base}/tools/lookup", data=str(scan.StudyInstanceUID)).json()
    assert archive.session().delete(f"{base}{found['Path']}").status_code == 200
    assert archive.client().search_for_studies(search_filters={"StudyInstanceUID": str(scan.StudyInstanceUID)}) == []


@ours
def test_a_scanner_sends_over_tls_and_may_do_nothing_else(archive, files):
    assert archive.dicom("echoscu").returncode == 0
    done = archive.dicom("storescu", *files[:2])
    assert done.returncode == 0, done.stderr
    studies = {str(one["0020000D"]["Value"][0]) for one in archive.client().search_for_studies()}
    assert {str(pydicom.dcmread(path).StudyInstanceUID) for path in files[:2]} <= studies
    looked = archive.dicom("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
    assert "aborted" in looked.stderr


@ours
def test_a_workstation_finds_what_is_on_its_shelf(archive, files):
    archive.dicom("storescu", *files[:2])
    looked = archive.dicom("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", by="STATION")
    assert looked.returncode == 0, looked.stderr
    assert str(pydicom.dcmread(files[0]).StudyInstanceUID) in looked.stdout + looked.stderr


@ours
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"by": "NOBODY"}, "Calling AE Title Not Recognized"),
        ({"by": "scanner"}, "Calling AE Title Not Recognized"),
        ({"by": "STATION", "called": "OTHER"}, "Calling AE Title Not Recognized"),
        ({"called": "NOWHERE"}, "Called AE Title Not Recognized"),
        ({"shows": "plain"}, "Association Request Failed"),
        ({"shows": "nobody"}, "Association Request Failed"),
        ({"shows": "stranger"}, "Association Request Failed"),
    ],
    ids=[
        "a title nobody has named",
        "in other letters",
        "on another shelf",
        "a title of no shelf",
        "no TLS",
        "no certificate",
        "a stranger's",
    ],
)
def test_others_are_refused_before_they_send_anything(archive, files, how, says):
    for program, arguments in (("echoscu", ()), ("storescu", (files[0],))):
        done = archive.dicom(program, *arguments, **how)
        assert done.returncode != 0
        assert says in done.stderr


@ours
@pytest.mark.parametrize("container", ["orthanc-0", "postgresql"])
def test_what_was_taken_is_there_after_a_kill(archive, files, container):
    sent = [pydicom.dcmread(path) for path in files]
    archive.client().store_instances(sent)
    archive.pod.kill(container)
    # Each connection to the database that was cut fails once.
    for _ in range(20):
        if archive.session().get(f"{archive.urls[ONE]}/studies").status_code == 200:
            break
    for one in sent:
        there = archive.client().retrieve_instance(one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        assert there.PixelData == one.PixelData
