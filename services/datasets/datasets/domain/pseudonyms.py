"""Names that stand for others: keyed, so that who lacks the key cannot tell whose they are by trying all identifiers.

The key of a VO is made from the service's own, which is kept apart from the records: whoever has these alone has no names.
https://www.rfc-editor.org/rfc/rfc2104 (HMAC), https://www.rfc-editor.org/rfc/rfc5869 (keys from keys),
https://dicom.nema.org/medical/dicom/current/output/chtml/part05/sect_B.2.html (UIDs from UUIDs)
"""

from __future__ import annotations

import base64
import hmac
import re
import unicodedata
from datetime import date, timedelta

SHORTEST_KEY = 32
"""Bytes."""
PSEUDONYM = re.compile(r"p[a-z2-7]{16}")
LEAST_DAYS, MOST_DAYS = 30, 3650
"""By which a patient's dates are moved into the past."""
LONGEST_IDENTIFIER = 256


class Pseudonyms:
    """Those of one VO.

    Args:
        key: of the service.

    Raises:
        ValueError: the key is too short to be one.
    """

    def __init__(self, key: bytes, vo: str) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"the key has {len(key)} bytes: make one of at least {SHORTEST_KEY} random ones")
        self.vo = vo
        self._key = hmac.digest(key, b"vo\0" + vo.encode(), "sha256")

    def of_patient(self, identifier: str, issuer: str = "") -> str:
        """The pseudonym of somebody whom a hospital has an identifier for; the same however it is spaced or capitalised.

        Args:
            issuer: who has given the identifier, for two hospitals may give the same one; empty where nobody says.

        Raises:
            ValueError: there is no identifier, or it or its issuer is too long to be one.
        """
        plain, by = (_plain(text) for text in (identifier, issuer))
        if not plain or not all(len(one) <= LONGEST_IDENTIFIER and one.isprintable() for one in (plain, by)):
            raise ValueError(f"an identifier has 1 to {LONGEST_IDENTIFIER} characters that can be printed, its issuer at most that")
        # What can be printed has no \0, so that no identifier looks like another one with its issuer.
        return "p" + base64.b32encode(self._of("patient", f"{plain}\0{by}" if by else plain)[:10]).decode().lower()

    def of_uid(self, uid: str) -> str:
        """The UID that stands for another, everywhere in the VO."""
        number = int.from_bytes(self._of("uid", uid.strip("\0 "))[:16], "big")
        # As a random UUID would be (RFC 9562, version 4): that is what 2.25 is followed by.
        number = (number & ~(0xF << 76) & ~(0x3 << 62)) | (4 << 76) | (2 << 62)
        return f"2.25.{number}"

    def shift_of(self, pseudonym: str) -> timedelta:
        """What is taken from all dates of somebody: whole days, so that times of day stay."""
        number = int.from_bytes(self._of("shift", pseudonym)[:8], "big")
        return timedelta(days=LEAST_DAYS + number % (MOST_DAYS - LEAST_DAYS))

    def shifted(self, pseudonym: str, day: date) -> date:
        """A day of somebody, moved as all their days are; the first day there is where it would be before that."""
        shift = self.shift_of(pseudonym)
        return day - shift if day - date.min >= shift else date.min

    def _of(self, what: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{what}\0{text}".encode("utf-8", "surrogatepass"), "sha256")


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
