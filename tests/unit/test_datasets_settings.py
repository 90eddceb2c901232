"""What the datasets service is told: the Secrets of the records and of the archive as the site has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymongo.uri_parser import parse_uri

from datasets.settings import Given, read_folder
from primage.contract import image_archive, records
from primage.contract.records import RecordsConfig


@pytest.fixture
def told(tmp_path: Path) -> Given:
    """A folder with a document alone."""
    for name in ("site", "records"):
        (tmp_path / name).mkdir()
    (tmp_path / "site" / "datasets.json").write_text(
        '{"url": "https://d.test", "issuer": "https://i.test/realms/primage", "audience": "d", "vos": ["vo-a", "vo-b"]}'
    )
    return read_folder(tmp_path)


@pytest.mark.parametrize("kind", ["ferretdb", "nx-27017"])
def test_the_service_logs_in_to_the_records_or_shows_a_certificate(told: Given, kind: str) -> None:
    config = RecordsConfig.model_validate(
        {"certificate": "x", "server": {"kind": kind, "kept": {"kind": "folder", "path": "/var/lib/records"}}}
    )
    place = told.folder / "records"
    (place / "url").write_text(f"{config.url}\n")
    (place / records.AUTHORITY_KEY).write_text("an authority")
    (place / (records.PASSWORD_KEY if config.logs_in else records.CLIENT_KEY)).write_text("a secret\n")
    login = told.records_login
    shown = {"tlsCAFile": str(place / "ca.crt")}
    if config.logs_in:
        assert login == shown | {"username": "datasets", "password": "a secret", "authSource": "admin"}
    else:
        assert login == shown | {"tlsCertificateKeyFile": str(place / "client.pem")}
    assert parse_uri(told.records_url)["options"]["tls"] is True
    assert "a secret" not in repr(told)
    assert told.settings.database == "datasets"


def test_each_vo_has_a_place_of_its_own_in_the_archive(told: Given) -> None:
    place = told.folder / "archive" / "vo-a"
    place.mkdir(parents=True)
    (place / "url").write_text("https://shelf.test/dicom-web\n")
    (place / image_archive.PASSWORD_KEY).write_text("a secret")
    assert told.archive_of("vo-a") == ("https://shelf.test/dicom-web", place / "password", None)
    assert told.archive_of("vo-b") is None
