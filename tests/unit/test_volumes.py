"""What shared volumes are kept on: kinds are told apart by their settings, and complaints are about places in the file."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from primage.contract.volumes import PosixVolume, Volume, VolumeBackend
from primage.projects.validation import sentences


class NfsVolume(VolumeBackend):
    """Another kind, as a module of its own would describe it."""

    backend: Literal["nfs"] = Field(description="What the volume is kept on.")
    server: str = Field(pattern="^[a-z.]+$", description="Its server.")
    export: str = Field(description="What it exports.")

    @property
    def place(self):
        return f"{self.server}:{self.export}"

    def folder(self, below):
        return {"nfs": {"server": self.server, "path": f"{self.export}/{below}"}}

    def whole(self):
        return {"nfs": {"server": self.server, "path": self.export}}


class One(BaseModel):
    home: Volume


class Several(BaseModel):
    home: Annotated[PosixVolume | NfsVolume, Field(discriminator="backend")]


def said(model, given):
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    return sentences(caught.value, "site", given)


def test_a_volume_of_which_nothing_else_is_said_is_posix():
    found = One.model_validate({"home": {"path": "/srv/home", "capacity": "1Gi"}}).home
    assert found == PosixVolume(path="/srv/home", capacity="1Gi")
    assert found.folder("vo/shared") == {"hostPath": {"path": "/srv/home/vo/shared", "type": "Directory"}}
    assert found.whole() == {"hostPath": {"path": "/srv/home", "type": "Directory"}}


def test_kinds_are_told_apart_by_their_name():
    given = {"home": {"backend": "nfs", "server": "files.example", "export": "/home", "capacity": "1Gi"}}
    assert isinstance(Several.model_validate(given).home, NfsVolume)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"backend": "floppy", "path": "/a", "capacity": "1"}, "site.home.backend: must be one of 'posix', 'nfs'"),
        ({"backend": "nfs", "server": "UP", "export": "/a", "capacity": "1"}, "site.home.server: must match the pattern"),
        ({"backend": "nfs", "server": "a", "capacity": "1"}, "site.home.export: is missing"),
        ({"backend": "posix", "path": "/a", "capacity": "1", "server": "a"}, "site.home.server: unknown key"),
        ({"backend": "posix", "path": "CHANGE-ME", "capacity": "1"}, "site.home: path still holds the placeholder"),
    ],
)
def test_a_complaint_names_the_place_in_the_file_and_not_the_kind(given, place):
    (told,) = said(Several, {"home": given})
    assert told.startswith(place)
