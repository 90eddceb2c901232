"""How the texts of a settings file are spelled, each with words for who spelled one differently: a pattern explains nothing."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from primage.contract import hpc
from primage.contract.images import REGISTRY

_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_DOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LONGEST_SHOWN = 100


def like(pattern: str, words: str) -> AfterValidator:
    """Checks that the whole of a text is as a regular expression says; otherwise says that it "must be" what the words say."""
    known = re.compile(pattern)

    def check(text: str) -> str:
        if not known.fullmatch(text):
            raise ValueError(f"must be {words} (given: {text[:_LONGEST_SHOWN]!r})")
        return text

    return AfterValidator(check)


def label(longest: int) -> AfterValidator:
    """A name that Kubernetes takes, or a part of one, of so many characters at most."""
    words = f"lowercase letters, digits and hyphens, {longest} at most, with a letter or digit first and last"
    return like(rf"(?=.{{1,{longest}}}$){_LABEL}", words)


def _without_dots(text: str) -> str:
    if {".", ".."} & set(text.split("/")):
        raise ValueError(f"must be written without . and .. (given: {text[:_LONGEST_SHOWN]!r})")
    return text


WITHOUT_DOTS = AfterValidator(_without_dots)
"""Of a path: it stays below where it begins."""
JobName = Annotated[str, label(42)]
ShortName = Annotated[str, label(32)]
"""Of what gets longer names of its own: a queue, a session."""
DnsLabel = Annotated[str, label(63)]
VoName = Annotated[str, like(_DOMAIN, "lowercase letters, digits, hyphens and dots, such as vo.example.org")]
Identity = Annotated[
    str, like(rf"[a-z0-9]([a-z0-9._+-]*[a-z0-9])?@{_DOMAIN}", "name@domain in lowercase letters, such as ada@example.org")
]
FolderName = Annotated[
    str, like(r"[A-Za-z0-9._-]+", "one folder's name: letters, digits, dots, hyphens and underscores"), WITHOUT_DOTS
]
AbsolutePath = Annotated[
    str,
    like(r"(/[A-Za-z0-9._-]+)+", "a whole path of plain names, such as /mnt/home, with no / at the end"),
    WITHOUT_DOTS,
]
FilesPattern = Annotated[
    str,
    like(r"[A-Za-z0-9._*?/-]*", "a pattern of paths with plain names, * and ?, such as scans/*.dcm"),
]
Function = Annotated[str, like(r"([A-Za-z_][\w.]*:[A-Za-z_]\w*)?", "a Python function, such as my_package.main:segment")]
Registry = Annotated[str, like(REGISTRY, "a host in lowercase letters, with its port and path if any, without https://")]

ApiServer = Annotated[str, like(r"(https://[A-Za-z0-9.-]+(:[0-9]{1,5})?)?", "https://host:port, with nothing after it, or empty")]
Host = Annotated[str, like(hpc.HOST, "a host or host:port, such as login.example.org:2222")]
Partition = Annotated[str, like(hpc.PARTITION, "names of partitions, with commas between them")]
Account = Annotated[str, like(hpc.ACCOUNT, "a name: letters, digits, dots, hyphens and underscores")]
Scratch = Annotated[
    str,
    like(hpc.SCRATCH, "a whole path of plain names that begins with /, ~ or a variable, such as $SCRATCH/jobs"),
]
Datalake = Annotated[str, like(hpc.DATALAKE, "a whole path, or empty")]
Slurmrestd = Annotated[str, like(hpc.SLURMRESTD, "https://host or https://host:port, or empty: a token goes there")]
