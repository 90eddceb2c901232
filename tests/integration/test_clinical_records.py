"""The records' database as a site has it, without a site: the pod that is declared, and the client that service `datasets` has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pod_here import PodHere
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError
from turns import turn

from infra.components import ferretdb, nx_27017
from primage.components.certificates import Authority, new_authority
from primage.components.client_certificate import ClientCertificateProvider
from primage.contract.names import CLINICAL_RECORDS
from primage.contract.records import AUTH_SOURCE, CLIENT_KEY, CLIENT_SECRET, DATABASE, PASSWORD_KEY, PORT, USER, RecordsConfig
from primage.local.data import data_images, data_tools
from primage.local.images.build import ensure_images
from primage.local.images.wheels import unpack_wheels
from primage.paths import repository_root

pytestmark = pytest.mark.apart

FERRETDB, NX = "ferretdb", "nx-27017"
WAIT_MS = 10_000
WITHOUT_TLS = {"tls": False, "tlsCAFile": None, "tlsCertificateKeyFile": None, "serverSelectionTimeoutMS": 1000}


def settings(kind: str) -> dict[str, Any]:
    """Of a site, as its file has them."""
    return {"authority_folder": "authority", "server": {"kind": kind, "kept": {"kind": "folder", "path": "/records"}}}


@dataclass
class Records:
    """The pod, and how to get in."""

    pod: PodHere
    options: dict[str, Any]

    def database(self, **more: Any) -> Any:
        """The service's own, by a client that has nothing in common with others."""
        chosen = {key: value for key, value in {**self.options, **more}.items() if value is not None}
        return pymongo.MongoClient("localhost", **chosen)[DATABASE]


@dataclass
class Site:
    """What a site declares, and a folder for it.

    Attributes:
        last: the pod that runs and the way to it, by the password that it was given.
    """

    config: RecordsConfig
    folder: Path
    authority: Authority
    last: dict[str, tuple[Records, list[Any]]] = field(default_factory=dict)

    def start(self, password: str = "one") -> Records:
        """Run the pod, unless it runs, and no other; what is in its folder stays from one to the next.

        Args:
            password: or, where there is none, another client's certificate.
        """
        if password in self.last:
            return self.last[password][0]
        self.stop()
        kind = self.config.server.kind
        client = self.folder / f"{password}.pem"
        made = ClientCertificateProvider().make({"secret": CLIENT_SECRET, "client": USER})
        client.write_text(made[CLIENT_KEY])
        served = self.authority.issue(["localhost"])
        secrets = {self.config.certificate_secret: served, CLINICAL_RECORDS: {PASSWORD_KEY: password}, CLIENT_SECRET: made}
        declared = (ferretdb if kind == FERRETDB else nx_27017).stateful_set(self.config, self.config.server)  # type: ignore[arg-type]
        pod = PodHere(declared["template"]["spec"], self.folder / "volumes", {}, secrets).__enter__()
        port = pod.port(PORT)
        options: dict[str, Any] = {"port": port.__enter__(), "directConnection": True, "journal": True, "tls": True}
        options |= {"tlsCAFile": str(self.folder / "ca.crt"), "serverSelectionTimeoutMS": WAIT_MS}
        if self.config.logs_in:
            options |= {"username": USER, "password": password, "authSource": AUTH_SOURCE}
        else:
            options["tlsCertificateKeyFile"] = str(client)
        found = Records(pod, options)
        self.last[password] = found, [port, pod]
        return found

    def stop(self) -> None:
        """End the pod that runs."""
        for _, entered in self.last.values():
            for one in entered:
                one.__exit__(None, None, None)
        self.last.clear()


@pytest.fixture(scope="module", params=[FERRETDB, NX])
def records_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Each kind; its image is built, which a site that keeps records has already.

    FerretDB is tried where it has been compiled, which takes minutes: `site.clinical_records.server.kind: ferretdb` has it done.
    """
    folder = tmp_path_factory.mktemp("records")
    wanted, log = {"clinical_records": settings(request.param)}, folder / "log"
    if any(tools.missing() for tools in data_tools(wanted)):
        pytest.skip("FerretDB has not been compiled on this machine")
    with turn("records-image"):
        images = data_images(wanted, repository_root(), lambda requirements: unpack_wheels(requirements, log))
        ensure_images(images, repository=repository_root(), log=log)
    authority = new_authority("a site")
    (folder / "ca.crt").write_text(authority.pem)
    found = Site(RecordsConfig.model_validate(settings(request.param)), folder, authority)
    yield found
    found.stop()


@pytest.fixture
def start(records_site: Site) -> Callable[..., Records]:
    return records_site.start


def test_records_are_written_found_counted_and_changed_at_once(start):
    cases = start().database().cases
    cases.drop()
    cases.insert_many([{"_id": f"c{number}", "vo": "vo.example.org", "age": number % 7} for number in range(500)])
    cases.create_index([("vo", 1), ("age", 1)])
    assert cases.count_documents({"vo": "vo.example.org", "age": {"$lt": 3}}) == 216
    ages = list(cases.aggregate([{"$group": {"_id": "$age", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]))
    assert [one["n"] for one in ages] == [72, 72, 72, 71, 71, 71, 71]
    assert cases.find_one_and_update({"_id": "c3"}, {"$set": {"stage": "L1"}}, return_document=True)["stage"] == "L1"


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"password": "wrong"}, OperationFailure),
        ({"username": None, "password": None, "authSource": None}, OperationFailure),
        ({"username": "admin"}, OperationFailure),
        (WITHOUT_TLS, ServerSelectionTimeoutError),
    ],
    ids=["another password", "nobody", "somebody else", "without TLS"],
)
@pytest.mark.parametrize("records_site", [FERRETDB], indirect=True)
def test_nobody_gets_in_without_the_password(start, how, error):
    with pytest.raises(error):
        start().database(**how).cases.find_one()


@pytest.mark.parametrize("records_site", [NX], indirect=True)
def test_nobody_gets_in_without_the_one_certificate(start, records_site, tmp_path):
    standing = start()
    # One that the site's own authority vouches for, as it does for every server of the site.
    other = records_site.authority.issue([USER])
    (tmp_path / "other.pem").write_text(other["tls.crt"] + other["tls.key"])
    for how in ({"tlsCertificateKeyFile": None}, {"tlsCertificateKeyFile": str(tmp_path / "other.pem")}, WITHOUT_TLS):
        with pytest.raises(ServerSelectionTimeoutError):
            standing.database(**{**how, "serverSelectionTimeoutMS": 1000}).cases.find_one()


@pytest.mark.parametrize("records_site", [NX], indirect=True)
def test_changes_of_one_record_at_once_lose_none(start):
    """FerretDB loses some (docs/adr/0030)."""
    cases = start().database().counted
    cases.drop()
    cases.insert_one({"_id": 1, "n": 0})

    def change(_: int) -> None:
        for _ in range(25):
            cases.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(4)))
    assert cases.find_one({"_id": 1})["n"] == 100


def test_what_was_acknowledged_is_there_after_a_kill(start):
    standing = start()
    cases = standing.database().kept
    cases.drop()
    cases.insert_many([{"_id": number} for number in range(300)])
    standing.pod.kill(standing.pod.spec["containers"][0]["name"])
    assert standing.database().kept.count_documents({}) == 300


def test_a_secret_that_was_made_again_is_the_only_one_that_holds(start):
    before = start("one")
    before.database().cases.insert_one({"said": "before"})
    after = start("another")
    assert after.database().cases.find_one({"said": "before"})
    with pytest.raises(PyMongoError):
        after.database(**{**before.options, "port": after.options["port"], "serverSelectionTimeoutMS": 1000}).cases.find_one()


def test_what_is_in_records_is_not_in_the_log(start):
    standing = start()
    cases = standing.database().logged
    cases.drop()
    cases.create_index("name", unique=True)
    cases.insert_one({"name": "Doe^Jane"})
    with pytest.raises(PyMongoError):
        cases.insert_one({"name": "Doe^Jane"})
    # In a way that it has to look for itself.
    list(cases.aggregate([{"$match": {"name": {"$elemMatch": {"name": "Doe"}}}}, {"$group": {"_id": "$name"}}]))
    for container in standing.pod.spec["containers"]:
        assert "Doe" not in standing.pod.said(container["name"])
