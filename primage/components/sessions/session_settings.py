"""Settings of interactive sessions, apart from their components so that checking a file needs no Pulumi."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from primage.components.jobs.batch_settings import ContainerSettings
from primage.contract.outputs import SomeQuantity
from primage.contract.spelling import WITHOUT_DOTS, Identity, ShortName, like

FOLDER = r"(HOME/(private|shared)|DATALAKE)(/[A-Za-z0-9 ._-]+)*"


Folder = Annotated[str, like(FOLDER, "HOME/private, HOME/shared, DATALAKE, or a folder below one"), WITHOUT_DOTS]
"""A folder among those a job has."""


class SessionSettings(ContainerSettings):
    """Something a person works with in a browser, for as long as it is used."""

    name: ShortName = Field(description="Name of the session.")
    image: str = Field(min_length=1, description="Container image, by digest or by a tag that never moves.")
    cpu: SomeQuantity = Field(default="1", description="Processor cores at most.")
    reserved_cpu: SomeQuantity = Field(
        default="100m", description="Processor cores kept free for it: a session waits for its user most of the time."
    )
    idle_seconds: int = Field(
        default=3600, ge=10, description="Ends when nobody has used it for so long; what it held is free for others then."
    )
    longest_seconds: int = Field(default=12 * 3600, ge=60, description="Ends after so long at the latest.")
    keep_seconds: int = Field(default=86400, ge=0, description="Seconds an ended session's log is kept.")
    priority: str = Field(default="", description="One of the site's priority classes; empty for its default.")
    login: bool = Field(
        default=True,
        description="On a site where sessions open in a browser after a login: open this one there. Without, `primage open` alone "
        "opens it, for whoever has its token.",
    )
    share_with: tuple[Identity, ...] = Field(
        default=(),
        max_length=100,
        description="Whom else it opens for, after their login: they can do all in it that its owner can. One of the VO's own "
        "namespace opens for these alone and, where none is named, for the members who may run things there.",
    )


class FolderSessionSettings(SessionSettings):
    """One that begins in a folder."""

    folder: Folder = Field(default="HOME/private", description="Folder shown first; the others are there too.")


class NotebookSettings(FolderSessionSettings):
    """A Jupyter server: any image with python3 and jupyterlab."""

    name: ShortName = Field(default="notebook", description="Name of the session.")
    memory: SomeQuantity = Field(default="2Gi", description="Main memory, requested and at most.")


class DesktopSettings(FolderSessionSettings):
    """A desktop: any image with the programs of images/desktop."""

    name: ShortName = Field(default="desktop", description="Name of the session.")
    image: str = Field(
        default="primage/desktop:1", min_length=1, description="Container image with the desktop's programs (images/desktop)."
    )
    memory: SomeQuantity = Field(default="1Gi", description="Main memory, requested and at most.")
    width: int = Field(default=1280, ge=640, le=3840, description="Width of the screen before somebody looks, in pixels.")
    height: int = Field(default=800, ge=480, le=2160, description="Height of the screen before somebody looks, in pixels.")
    resize: bool = Field(
        default=True, description="The screen takes the size of the browser's window; otherwise it is shown smaller or larger."
    )
    clipboard: bool = Field(default=True, description="Text can be copied between the desktop and the browser.")


class WebSettings(FolderSessionSettings):
    """NGINX showing a folder of files: any image with a shell and nginx."""

    name: ShortName = Field(default="web", description="Name of the session.")
    image: str = Field(default="primage/web:1", min_length=1, description="Container image with nginx (images/web).")
    cpu: SomeQuantity = Field(default="100m", description="Processor cores at most.")
    reserved_cpu: SomeQuantity = Field(default="20m", description="Processor cores kept free for it.")
    memory: SomeQuantity = Field(default="64Mi", description="Main memory, requested and at most.")
    scratch: SomeQuantity = Field(default="64Mi", description="Size of /tmp, which is gone with the pod.")
    folder: Folder = Field(description="Folder whose files are served, read-only: HOME/private, HOME/shared, DATALAKE or below.")
