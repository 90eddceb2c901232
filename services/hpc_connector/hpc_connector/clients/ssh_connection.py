"""One SSH connection to a login node, made when it is needed and again when it is lost; commands and files go by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh

from hpc_connector.clients.credentials import Credentials
from hpc_connector.domain.answers import root_of
from hpc_connector.domain.errors import UnavailableError
from primage.contract.hpc import Backend

CONNECT_S = 60.0


class SshConnection:
    """A login node as one of its users; safe to use from many tasks.

    Args:
        credentials: asked again for every connection.
        find_root: on a new connection, the folder that holds all jobs' working folders, made where it is not there.
    """

    def __init__(
        self,
        backend: Backend,
        credentials: Callable[[], Credentials],
        find_root: Callable[[asyncssh.SSHClientConnection], Awaitable[str]],
    ) -> None:
        self.backend = backend
        self.credentials = credentials
        self._find_root = find_root
        self._connection: asyncssh.SSHClientConnection | None = None
        self._files: asyncssh.SFTPClient | None = None
        self._root = ""
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """End the connection; the next request makes a new one, with the credentials of then."""
        connection, self._connection, self._files = self._connection, None, None
        if connection:
            connection.abort()

    async def connection(self) -> asyncssh.SSHClientConnection:
        """The connection, which stands; for commands."""
        await self.root()
        assert self._connection is not None
        return self._connection

    async def root(self) -> str:
        """Root of the working folders, on a connection that stands."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                try:
                    async with asyncio.timeout(CONNECT_S):
                        self._connection, self._files = await self._connect(), None
                except TimeoutError as error:
                    raise UnavailableError(
                        "Unreachable", f"{self.backend.endpoint} lets nobody in within {CONNECT_S:.0f} s"
                    ) from error
        return self._root

    def proxy(self) -> str:
        """Where the grid proxy credential is there, empty where there is none; of a connection that stood once."""
        return _proxy_path(self._root) if self.credentials().proxy.strip() else ""

    async def _connect(self) -> asyncssh.SSHClientConnection:
        credentials = self.credentials()
        host, port = self.backend.address
        try:
            key: Any = asyncssh.import_private_key(credentials.private_key)
            if credentials.certificate.strip():
                key = (key, asyncssh.import_certificate(credentials.certificate))
            connection = await asyncssh.connect(
                host,
                port,
                username=credentials.username,
                client_keys=[key],
                agent_path=None,
                config=None,
                known_hosts=asyncssh.import_known_hosts(credentials.known_hosts.decode()),
                connect_timeout=15,
                login_timeout=20,
                keepalive_interval=5,
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise UnavailableError("HostKeyRefused", f"{host} shows a host key that is not pinned: {error.reason}") from error
        except asyncssh.PermissionDenied as error:
            raise UnavailableError("LoginRefused", f"{host} refuses the login of {credentials.username}: {error.reason}") from error
        except (asyncssh.KeyImportError, UnicodeDecodeError, ValueError) as error:
            raise UnavailableError("CredentialsUnfit", f"the key in the backend's Secret cannot be read: {error}") from error
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise UnavailableError("Unreachable", f"{host} cannot be reached by SSH: {error or type(error).__name__}") from error
        try:
            self._root = root_of(await self._find_root(connection))
            if credentials.proxy.strip():
                async with connection.start_sftp_client() as files:
                    await _put_proxy(files, _proxy_path(self._root), credentials.proxy)
        except (OSError, asyncssh.Error) as error:
            connection.abort()
            raise self.lost(error) from error
        except BaseException:
            connection.abort()
            raise
        return connection

    async def sftp(self) -> asyncssh.SFTPClient:
        """For files, on a connection that stands."""
        await self.root()
        async with self._connecting:
            if self._files is None:
                assert self._connection is not None
                self._files = await self._connection.start_sftp_client()
            return self._files

    def lost(self, error: BaseException) -> UnavailableError:
        """What an error on the way to the login node is to a job; a connection that may be broken is given up."""
        if isinstance(error, asyncssh.SFTPError):
            return UnavailableError("FilesUnavailable", f"a file on {self.backend.endpoint} cannot be read or written: {error}")
        if isinstance(error, OSError) and error.errno and error.filename:
            return UnavailableError("HomeUnavailable", f"HOME cannot be used: {error.strerror}")
        if self._connection is not None:
            self._connection.abort()
        return UnavailableError(
            "ConnectionLost", f"the connection to {self.backend.endpoint} was lost: {error or type(error).__name__}"
        )


def _proxy_path(root: str) -> str:
    """Where the grid proxy credential is kept there."""
    return f"{root}/.proxy"


async def _put_proxy(files: asyncssh.SFTPClient, path: str, proxy: bytes) -> None:
    async with files.open(f"{path}.new", "wb") as stream:
        await files.chmod(f"{path}.new", 0o600)
        await stream.write(proxy)
    await files.posix_rename(f"{path}.new", path)
