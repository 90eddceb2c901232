"""The records' database as a site has it, without a site: the pod that is declared, and the client that service `datasets` has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pod_here import PodHere
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError
from turns import turn

from infra.components import ferretdb
from primage.components.certificates import new_authority
from primage.contract.names import CLINICAL_RECORDS
from primage.contract.records import AUTH_SOURCE, DATABASE, PASSWORD_KEY, PORT, USER, RecordsConfig
from primage.local.images.build import ensure_images
from primage.local.images.catalogue import records_image
from primage.local.toolchain.build import FERRETDB_TOOLS
from primage.paths import repository_root

RECORDS = {"authority_folder": "authority", "server": {"kind": "ferretdb", "kept": {"kind": "folder", "path": "/records"}}}
WAIT_MS = 10_000


@dataclass
class Records:
    """The pod, and how to get in."""

    pod: PodHere
    port: int
    authority: Path

    def database(self, password: str | None, **more: Any) -> Any:
        """The service's own, by a client that has nothing in common with others."""
        options: dict[str, Any] = {"tls": True, "tlsCAFile": str(self.authority), "username": USER, "password": password}
        options |= {"authSource": AUTH_SOURCE, "directConnection": True, "serverSelectionTimeoutMS": WAIT_MS, **more}
        chosen = {key: value for key, value in options.items() if value is not None}
        return pymongo.MongoClient("localhost", self.port, **chosen)[DATABASE]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordsConfig, Path]:
    """What the site declares, and a folder for it; the image is built, which a site that keeps records has already."""
    folder = tmp_path_factory.mktemp("records")
    with turn("records-image"):
        FERRETDB_TOOLS.build(folder / "tools.log", lambda *_: None)
        ensure_images(
            [records_image(repository_root(), FERRETDB_TOOLS.directory)], repository=repository_root(), log=folder / "images.log"
        )
    for name, text in new_authority("a site").issue(["localhost"]).items():
        (folder / name).write_text(text)
    return RecordsConfig.model_validate(RECORDS), folder


@pytest.fixture
def records(served: tuple[RecordsConfig, Path]) -> Iterator[Any]:
    """Starts the pod, with a password; what is in its folder stays from one to the next."""
    config, folder = served
    standing = []

    def stop() -> None:
        for pod, port in standing:
            port.__exit__(None, None, None)
            pod.__exit__(None, None, None)
        standing.clear()

    def start(password: str) -> Records:
        stop()
        given = {name: (folder / name).read_text() for name in ("ca.crt", "tls.crt", "tls.key")}
        secrets = {config.certificate_secret: given, CLINICAL_RECORDS: {PASSWORD_KEY: password}}
        spec = ferretdb.stateful_set(config, config.server)["template"]["spec"]  # type: ignore[arg-type]  # of that kind
        pod = PodHere(spec, folder / "volumes", {}, secrets).__enter__()
        port = pod.port(PORT)
        standing.append((pod, port))
        return Records(pod, port.__enter__(), folder / "ca.crt")

    yield start
    stop()


def test_records_are_written_found_counted_and_changed_at_once(records):
    cases = records("one").database("one").cases
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
        ({"tls": False, "tlsCAFile": None, "serverSelectionTimeoutMS": 1000}, ServerSelectionTimeoutError),
    ],
    ids=["another password", "nobody", "somebody else", "without TLS"],
)
def test_nobody_else_gets_in(records, how, error):
    database = records("one").database(**{"password": "one", **how})
    with pytest.raises(error):
        database.cases.find_one()


def test_what_was_acknowledged_is_there_after_a_kill(records):
    standing = records("one")
    cases = standing.database("one").kept
    cases.drop()
    cases.insert_many([{"_id": number} for number in range(300)])
    standing.pod.kill("ferretdb")
    assert standing.database("one").kept.count_documents({}) == 300


def test_a_password_that_was_made_again_is_the_only_one_that_holds(records):
    records("one").database("one").cases.insert_one({"said": "before"})
    standing = records("another")
    assert standing.database("another").cases.find_one({"said": "before"})
    with pytest.raises(OperationFailure):
        standing.database("one").cases.find_one()


def test_what_is_in_records_is_not_in_the_log(records):
    standing = records("one")
    cases = standing.database("one").logged
    cases.drop()
    cases.create_index("name", unique=True)
    cases.insert_one({"name": "Doe^Jane"})
    with pytest.raises(PyMongoError):
        cases.insert_one({"name": "Doe^Jane"})
    assert "Doe" not in standing.pod.said("ferretdb")
