"""The datasets service on a real server of records, with an identity provider that signs what a test says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from issuer import fake_issuer
from joserfc import jwt
from joserfc.jwk import RSAKey
from records_server import records_server
from starlette.testclient import TestClient

from datasets.app import application, service_with
from datasets.domain.arrival import Reads
from datasets.settings import read_folder

URL = "https://datasets.test"
AUDIENCE, ARCHIVE_PASSWORD = "primage-datasets", "made for a test: it"


class Site:
    """One.

    Attributes:
        client: asks it, as nobody.
        key: that the identity provider signs with.
    """

    def __init__(self, client: TestClient, issuer: str, key: RSAKey) -> None:
        self.client, self.issuer, self.key = client, issuer, key

    def token(self, *groups: str, key: RSAKey | None = None, **claims: Any) -> str:
        """A token of somebody in these groups."""
        said = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "account-1",
            "exp": int(time.time()) + 300,
            "preferred_username": "ana@example.org",
            "groups": list(groups),
        }
        used = key or self.key
        return jwt.encode({"alg": "RS256", "kid": used.kid}, {**said, **claims}, used)

    def headers(self, *groups: str) -> dict[str, str]:
        """What such a person sends."""
        return {"Authorization": f"Bearer {self.token(*groups)}"}


def signing_key() -> RSAKey:
    """A key that an identity provider could sign with."""
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)


@contextmanager
def datasets_site(folder: Path, archive: str = "", reads: Reads | None = None) -> Iterator[Site]:
    """One, while the block runs, that serves vo-a and vo-b.

    Args:
        archive: where the DICOMweb of vo-a is, and nobody else's; empty: there is none.
        reads: looks for text in pixels, where Debian's tesseract does not.
    """
    key = signing_key()
    for name in ("site", "key", "records", "issuer", "server"):
        (folder / name).mkdir()
    with records_server(folder / "server") as records, fake_issuer(folder / "issuer", "/realms/primage") as issuer:
        issuer.describe(jwks_uri=f"{issuer.url}/keys")
        issuer.answers["/realms/primage/keys"] = [(200, {"keys": [key.as_dict(private=False)]})]
        (folder / "key" / "pseudonyms").write_bytes(bytes(range(64)))
        (folder / "records" / "url").write_text(records.url)
        (folder / "site" / "datasets.json").write_text(
            f'{{"url": "{URL}", "issuer": "{issuer.url}", "audience": "{AUDIENCE}", "vos": ["vo-a", "vo-b"]}}'
        )
        if archive:
            shelf = folder / "archive" / "vo-a"
            shelf.mkdir(parents=True)
            (shelf / "url").write_text(archive)
            (shelf / "password").write_text(f"{ARCHIVE_PASSWORD}\n")
        service = service_with(read_folder(folder))
        if reads:
            service = replace(service, reads=reads)
        with TestClient(application(service), base_url=URL, follow_redirects=False) as client:
            yield Site(client, issuer.url, key)
