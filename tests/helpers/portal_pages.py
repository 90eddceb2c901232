"""The portal's pages with an identity provider and a cluster of a test's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from issuer import FakeIssuer, fake_issuer
from joserfc import jwt
from joserfc.jwk import RSAKey
from memory_cluster import MemoryCluster
from starlette.testclient import TestClient

from portal.app import application, portal_with
from portal.clients.launches import Launches
from portal.domain.launch import Ended, Work
from portal.pages.shared import SESSION, Portal
from portal.settings import Given
from primage.contract.login import KUBECTL_CLIENT, PORTAL_CLIENT
from primage.contract.portal import PortalGateway, PortalSettings

URL = "https://portal.example.org"
VO = "vo.primage.eu"
ADA, ACCOUNT = "ada@example.org", "account-1"
KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)


class Clusters:
    """In place of the API server: one cluster in memory, and the tokens that it was asked with."""

    def __init__(self) -> None:
        self.memory = MemoryCluster()
        self.tokens: list[str] = []

    def as_person(self, token: str) -> MemoryCluster:
        self.tokens.append(token)
        return self.memory

    def kubeconfig(self, token: str) -> str:
        return f"a kubeconfig with {token}"


class Started(Launches):
    """In place of processes: what would be started."""

    def __init__(self) -> None:
        super().__init__()
        self.kubeconfigs: list[str] = []
        self.end = Ended(ok=True)

    def _run(self, work: Work, kubeconfig: str) -> Ended:
        self.kubeconfigs.append(kubeconfig)
        return self.end


@dataclass
class Pages:
    """The portal, whom it asks, and a browser."""

    portal: Portal
    issuer: FakeIssuer
    clusters: Clusters
    browser: TestClient
    claims: dict[str, Any] = field(default_factory=dict)

    def another_browser(self) -> TestClient:
        return browser_for(self.portal)

    def tokens(self, nonce: str | None = None, *, key: Any = KEY, algorithm: str = "RS256", **claims: Any) -> dict[str, Any]:
        """What the token endpoint answers."""
        said = {
            "iss": self.issuer.url,
            "aud": [PORTAL_CLIENT, KUBECTL_CLIENT],
            "azp": PORTAL_CLIENT,
            "sub": ACCOUNT,
            "exp": int(time.time()) + 600,
            "preferred_username": ADA,
            "groups": [f"/{VO}", f"/{VO}/researcher"],
            **({"nonce": nonce} if nonce else {}),
            **self.claims,
            **claims,
        }
        token = jwt.encode({"alg": algorithm, "kid": "1"}, {key: value for key, value in said.items() if value is not None}, key)
        return {"id_token": token, "refresh_token": "next", "access_token": "unused", "token_type": "Bearer"}

    def begin(self, browser: TestClient, after: str = "/") -> dict[str, str]:
        """Ask to log in; what the provider is asked."""
        answer = browser.get(f"/login?{urlencode({'next': after})}", follow_redirects=False)
        assert answer.status_code == 303, answer.text
        return {key: values[0] for key, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    def log_in(self, browser: TestClient | None = None, after: str = "/", **claims: Any) -> Any:
        """The whole way; the answer to the browser that has come back."""
        browser = browser or self.browser
        browser.cookies.pop(SESSION, None)
        asked = self.begin(browser, after)
        self.issuer.answers["/realms/primage/token"] = [(200, self.tokens(**{"nonce": asked["nonce"], **claims}))]
        given = {"code": "code", "state": asked["state"], "iss": self.issuer.url}
        return browser.get(f"/login/done?{urlencode(given)}", follow_redirects=False)

    def csrf(self) -> str:
        """Of the browser's session."""
        return fields(self.browser.get("/").text)["csrf"]


def browser_for(portal: Portal) -> TestClient:
    """A browser that sends what browsers send with forms of the portal's own pages."""
    return TestClient(application(portal), base_url=URL, headers={"Origin": URL, "Sec-Fetch-Site": "same-origin"})


@contextmanager
def pages(folder: Path) -> Iterator[Pages]:
    """All of it, with nobody logged in."""
    with fake_issuer(folder, "/realms/primage") as issuer:
        issuer.describe(
            jwks_uri=f"{issuer.url}/keys",
            end_session_endpoint=f"{issuer.url}/end",
            authorization_response_iss_parameter_supported=True,
        )
        issuer.answers["/realms/primage/keys"] = [(200, {"keys": [KEY.as_dict(private=False)]})]
        issuer.answers["/realms/primage/end"] = [(204, {})]
        for part in ("client", "issuer"):
            (folder / part).mkdir()
        (folder / "client/client-secret").write_text("password\n")
        (folder / "issuer/ca.crt").write_text(Path(issuer.authority).read_text())
        settings = PortalSettings(
            site="local",
            description="A site",
            url=URL,
            issuer=issuer.url,
            vos=(VO, "training.primage.eu"),
            gateway=PortalGateway(domain="sessions.example.org"),
        )
        portal = portal_with(Given(folder, settings))
        clusters = Clusters()
        portal = replace(portal, api=clusters, launches=Started())
        yield Pages(portal, issuer, clusters, browser_for(portal))


def fields(page: str) -> dict[str, str]:
    """What a page's form fields hold, by name."""
    found: dict[str, str] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            if tag == "input" and given.get("name"):
                found[str(given["name"])] = given.get("value") or ""

    Reader().feed(page)
    return found
