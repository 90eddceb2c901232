"""Who is logged in: kept in this process alone, so that what a browser has is a number that means nothing elsewhere."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from portal.domain.person import Person
from primage.contract.realm import SESSION_IDLE_S, SESSION_S

MOST, MOST_OF_ONE = 500, 5
"""Sessions of everybody, and of one person: the one that was not used for the longest time makes room."""
TOKEN_BYTES = 32


@dataclass(frozen=True)
class Tokens:
    """What the identity provider gave.

    Attributes:
        id_token: who somebody is, for the API server too.
        refresh_token: to get the next ones with; good once.
        until: epoch seconds when the first one ends.
    """

    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    until: float


@dataclass
class Session:
    """Somebody at one browser.

    Attributes:
        csrf: what each form of theirs carries.
        login: the identity provider's name of this login, which others may be part of; empty where it gave none.
        begun, used: seconds of the store's clock.
        turn: held by who gets the next tokens; a token to refresh with is good once.
        connection: to the API server with a token, and that token; None before the first.
    """

    person: Person
    tokens: Tokens
    csrf: str = field(repr=False)
    begun: float
    used: float
    login: str = ""
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False)
    connection: tuple[str, Any] | None = field(default=None, repr=False)


class Sessions:
    """All of them; safe to use from many threads.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._by_key: dict[str, Session] = {}

    def begin(self, person: Person, tokens: Tokens, login: str = "") -> tuple[str, list[Session]]:
        """A new one's number, which is nowhere but in the answer, and the sessions that made room for it."""
        number, now = secrets.token_urlsafe(TOKEN_BYTES), self._clock()
        session = Session(person, tokens, secrets.token_urlsafe(TOKEN_BYTES), now, now, login)
        with self._guard:
            gone = self._drop_ended(now)
            gone += self._make_room([key for key, of in self._by_key.items() if of.person.account == person.account], MOST_OF_ONE)
            gone += self._make_room(list(self._by_key), MOST)
            self._by_key[_key(number)] = session
        return number, gone

    def find(self, number: str) -> Session | None:
        """The one with this number, which counts as used now; None where it has ended, or never was."""
        now = self._clock()
        with self._guard:
            session = self._by_key.get(_key(number))
            if session is None:
                return None
            if _ended(session, now):
                del self._by_key[_key(number)]
                return None
            session.used = now
            return session

    def end(self, number: str) -> Session | None:
        """Forget the one with this number; it, where there was one."""
        with self._guard:
            return self._by_key.pop(_key(number), None)

    def end_all(self, login: str, account: str) -> list[Session]:
        """Forget those of a login, or where that is empty all of an account; what is empty says nothing."""
        with self._guard:
            gone = [
                key
                for key, of in self._by_key.items()
                if (login or account) and login in ("", of.login) and account in ("", of.person.account)
            ]
            return [self._by_key.pop(key) for key in gone]

    def __len__(self) -> int:
        with self._guard:
            return len(self._by_key)

    def _drop_ended(self, now: float) -> list[Session]:
        return [self._by_key.pop(key) for key in [key for key, of in self._by_key.items() if _ended(of, now)]]

    def _make_room(self, keys: list[str], most: int) -> list[Session]:
        oldest = sorted(keys, key=lambda key: self._by_key[key].used)
        return [self._by_key.pop(key) for key in oldest[: max(0, len(oldest) - most + 1)]]


def _key(number: str) -> str:
    """Looked up by what does not tell the number, however long looking takes."""
    return hashlib.sha256(number.encode()).hexdigest()


def _ended(session: Session, now: float) -> bool:
    return now - session.used > SESSION_IDLE_S or now - session.begun > SESSION_S
