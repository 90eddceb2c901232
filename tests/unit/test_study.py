"""What a study's results bring along when somebody else wrote them."""

import base64
import io
import tarfile

import pytest

from primage.errors import PrimageError
from primage.operations import study


def packed(*members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info, io.BytesIO(content))
    return base64.b64encode(data.getvalue()).decode()


WHOLE = [(name, tarfile.REGTYPE, name.encode()) for name in study.RESULTS]


def test_the_results_arrive(tmp_path):
    study._unpack(packed(*WHOLE), tmp_path / "out")
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {name: name for name in study.RESULTS}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (packed(*WHOLE, ("../evil", tarfile.REGTYPE, b"x")), "is none of"),
        (packed(("/etc/evil", tarfile.REGTYPE, b"x")), "is none of"),
        (packed((study.RESULTS[0], tarfile.SYMTYPE, b"")), "is none of"),
        (packed(*WHOLE, WHOLE[0]), "is none of"),
        (packed(*WHOLE[:-1], (study.RESULTS[-1], tarfile.REGTYPE, b"x" * 2000)), "too large"),
        (packed(*WHOLE[1:]), "are missing: report.json"),
        ("not base64", "not an archive"),
        (base64.b64encode(b"x" * 100).decode(), "not an archive"),
        (packed(*WHOLE)[:200], "not an archive"),
    ],
    ids=["outside", "absolute", "a link", "twice", "too large", "one missing", "no base64", "no gzip", "half"],
)
def test_what_is_not_the_results_is_refused(text, words, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "MOST_BYTES", 1000)
    with pytest.raises(PrimageError, match=words):
        study._unpack(text, tmp_path / "out")
    assert list(tmp_path.glob("evil")) == []
