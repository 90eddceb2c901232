"""A backend's Secret, read now and then, so that renewed credentials are used without a restart."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from hpc_connector.clients.credentials import Credentials
from hpc_connector.clients.kube import Kube
from hpc_connector.domain.errors import UnavailableError
from primage.contract.hpc import backend_object

EVERY_S = 15.0
WARN_BEFORE = timedelta(hours=24)


class BackendSecret:
    """The credentials of one backend."""

    def __init__(self, kube: Kube, backend: str) -> None:
        self._kube = kube
        self._backend = backend
        self._credentials: Credentials | None = None
        self._version = ""
        self._read_at = -EVERY_S

    @property
    def known(self) -> bool:
        """Whether there are credentials: not once their Secret is gone, or holds none."""
        return self._credentials is not None

    async def refresh(self, *, at_once: bool) -> bool:
        """Read it again when it is time to, or `at_once`; says whether there are other credentials now."""
        if self._credentials and not at_once and time.monotonic() - self._read_at < EVERY_S:
            return False
        try:
            found = await self._kube.credentials(self._backend, self._version)
        except UnavailableError as error:
            if error.reason in {"CredentialsMissing", "CredentialsUnfit"}:
                self._credentials, self._version = None, ""
            raise
        self._read_at = time.monotonic()
        if found:
            self._credentials, self._version = found
        return found is not None

    def credentials(self) -> Credentials:
        """As they were read last; raises UnavailableError before that."""
        if self._credentials is None:
            raise UnavailableError("CredentialsMissing", f"the Secret {backend_object(self._backend)} was not read yet")
        return self._credentials

    def expiring(self) -> str:
        """A sentence when the credentials end within a day."""
        end = self._credentials.expires() if self._credentials else None
        if end is None or end - datetime.now(UTC) > WARN_BEFORE:
            return ""
        when = f"{end:%Y-%m-%d %H:%M} UTC"
        over = end < datetime.now(UTC)
        said = f"the credentials for {self._backend} {'ended' if over else 'end'} at {when}"
        return f"{said}; an operator renews them with `primage hpc login`"
