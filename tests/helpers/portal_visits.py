"""The standing site's portal, visited by people of its own Keycloak: in a browser, and without one."""

from __future__ import annotations

import re
from typing import Any

import requests
from browsers import fill_in, fill_in_by_hand
from people import AUTHORITY

URL = "https://10.89.77.11:30444"


def log_in(page: Any, identity: str, path: str = "/") -> None:
    """As a person does: by the button, and at Keycloak's own page."""
    page.goto(f"{URL}{path}")
    if path == "/":
        page.get_by_role("link", name="Log in").click()
    fill_in(page, identity)


def by_hand(identity: str, path: str = "/") -> requests.Session:
    """The same without a browser; a session of requests that is logged in."""
    visitor = requests.Session()
    visitor.verify, visitor.trust_env = AUTHORITY, False
    page = visitor.get(f"{URL}/login?next={path}", timeout=30)
    done = fill_in_by_hand(visitor, page, identity)
    assert done.url == f"{URL}{path}", done.text
    return visitor


def csrf(visitor: requests.Session) -> str:
    """What forms of the visitor's pages carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', visitor.get(f"{URL}/", timeout=30).text)
    assert found
    return found[1]


def post(visitor: requests.Session, path: str, **fields: str) -> requests.Response:
    """Send a form as a page of the portal does."""
    return visitor.post(f"{URL}{path}", data=fields, headers={"Origin": URL}, timeout=60, allow_redirects=False)
