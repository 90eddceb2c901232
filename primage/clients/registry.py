"""A container registry (Docker's HTTP API, version 2), as far as asking what it has."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from primage.clients.unreachable import in_words
from primage.errors import ExitCode, PrimageError

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TIMEOUT_S = 20
MOST_BYTES = 4 * 2**20
"""A manifest is a list of layers; registries themselves take none that is larger."""


@dataclass(frozen=True)
class Manifest:
    """What a tag stands for.

    Attributes:
        digest: of the manifest, which references name.
        config: digest of the image's configuration, which is its ID where it was built.
    """

    digest: str
    config: str


@dataclass(frozen=True)
class Registry:
    """One registry.

    Attributes:
        address: host and port.
        login: file with its login, as podman and buildah read it (`--authfile`).
        authority: file with the certificate of the authority that vouches for it.
    """

    address: str
    login: Path
    authority: Path

    def manifest(self, repository: str, tag: str) -> Manifest | None:
        """What a tag stands for; None where there is no such tag.

        Raises:
            PrimageError: it does not answer, or refuses.
        """
        headers = {"Accept": f"{MANIFEST}, {OCI_MANIFEST}", "Authorization": f"Basic {self._credentials()}"}
        try:
            context = ssl.create_default_context(cafile=str(self.authority))
            connection = http.client.HTTPSConnection(self.address, timeout=TIMEOUT_S, context=context)
            try:
                connection.request("GET", f"/v2/{repository}/manifests/{tag}", headers=headers)
                answer = connection.getresponse()
                said = answer.read(MOST_BYTES)
            finally:
                connection.close()
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            if answer.status != HTTPStatus.OK:
                raise self._failure(f"it answers with HTTP {answer.status}")
            return Manifest(f"sha256:{hashlib.sha256(said).hexdigest()}", str(json.loads(said)["config"]["digest"]))
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(in_words(error)) from error
        except (ValueError, LookupError, TypeError) as error:
            raise self._failure("its answer is not a registry's") from error

    def _credentials(self) -> str:
        try:
            return str(json.loads(self.login.read_text())["auths"][self.address]["auth"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise PrimageError(
                f"there is no login for the registry {self.address}",
                where=str(self.login),
                todo="on the local site run `primage site local up`; elsewhere `podman login --authfile` writes it",
                code=ExitCode.UNREACHABLE,
            ) from error

    def _failure(self, why: str) -> PrimageError:
        return PrimageError(
            f"the registry {self.address} cannot be asked: {why}",
            todo="on the local site run `primage site local up`, and look at `systemctl status 'registry@*'` on machine front",
            code=ExitCode.UNREACHABLE,
        )
