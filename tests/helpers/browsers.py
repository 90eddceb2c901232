"""What people do in a browser on the standing site: log in at its Keycloak, and run a cell of a notebook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import requests
from hpc_machine import WAIT_S, until
from people import PASSWORD

DOMAIN, PORT = "primage.localhost", 30445
"""Below which each tenant has a host for its sessions, and where."""
EVIL = f"https://evil.{DOMAIN}:{PORT}"
"""Another tenant: below the same domain, so that browsers send cookies along that are SameSite."""
STARTS_MS = 60_000


def fill_in(page: Any, identity: str) -> None:
    """Give a name and a password to the site's own Keycloak."""
    page.fill("#username", identity)
    page.fill("#password", PASSWORD)
    page.click("#kc-login")


def come_by_the_hospital(page: Any, name: str) -> None:
    """At the site's Keycloak, choose the institution, and give a name and a password there."""
    page.get_by_role("link", name="Example Hospital").click()
    page.get_by_label("Username or email").fill(name)
    page.get_by_role("textbox", name="Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign In").click()


def fill_in_by_hand(visitor: requests.Session, page: requests.Response, identity: str) -> requests.Response:
    """The same as `fill_in` without a browser; the page that the login leads to."""
    form = re.search(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
    assert form, page.text[:2000]
    return visitor.post(form[1].replace("&amp;", "&"), data={"username": identity, "password": PASSWORD}, timeout=30)


def write_notebook(path: Path, source: str) -> None:
    """Write one of one cell, which has not been run."""
    cell = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    path.write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}))


def run_cell(page: Any, starts_ms: int = STARTS_MS, within_s: float = WAIT_S) -> str:
    """Run the first cell of a notebook that a page opens; what it prints.

    Args:
        starts_ms: milliseconds for the page to show it.
        within_s: seconds for it to have run then.
    """
    output = page.locator(".jp-OutputArea-output").first
    page.locator(".jp-Notebook .jp-Cell").first.click(timeout=starts_ms)

    def run() -> bool:
        # A key pressed while JupyterLab is still putting the page together is lost, as a person's is.
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(1000)
        return bool(output.is_visible())

    until("the cell has run", run, within_s)
    return str(output.inner_text()).strip()
