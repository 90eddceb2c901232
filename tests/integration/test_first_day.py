"""A person's first day, in one browser: in by their institution, into a VO, a job, a notebook, a desktop, and out of all of it."""

import secrets

import people
import pytest
from browsers import come_by_the_hospital, run_cell, write_notebook
from canvas import COLOURS
from hpc_machine import until
from people import administrator, gone, person, ready
from portal_visits import URL, log_in
from turns import turn

from primage.clients.cluster import Ref
from primage.contract import memberships, names
from primage.contract.custom_resources import API_VERSION
from primage.contract.memberships import object_name

VO = "vo.primage.eu"
NOW_S, STARTS_MS = 60, 120_000
SIZE = {"width": 1100, "height": 760}
SCRIPT = "echo scan 17 is read; trap exit TERM; sleep 600 & wait"


@pytest.fixture(scope="module")
def chief(admin, cluster):
    """Who decides who belongs to the VO."""
    with person(admin, cluster, "chief", f"/{VO}/admin") as (identity, _):
        yield identity


@pytest.fixture
def newcomer(admin, cluster):
    """Somebody whom their hospital knows, and this site does not."""
    there = administrator(cluster, "hospital")
    name = f"nora{secrets.token_hex(3)}@hospital.example.org"
    known = there.create_user({"username": name, "email": name, "enabled": True, "credentials": [people.CREDENTIAL], **people.NAME})
    yield name
    there.delete_user(known)
    for kind in (memberships.REQUEST, memberships.DECISION):
        cluster.delete(Ref(API_VERSION, kind, object_name(name), names.namespace_for(VO)), propagation="Background")
    for user in admin.get_users({"username": name, "exact": True}):
        gone(admin, cluster, name, user["id"])


class Visitor:
    """Somebody at a browser of their own, which takes pictures of what it shows."""

    def __init__(self, browser, folder):
        # The site's authority is not among those that it knows.
        self.context = browser.new_context(ignore_https_errors=True, viewport=SIZE)
        self.page = self.context.new_page()
        self._folder = folder

    def picture(self, name, page=None):
        (page or self.page).screenshot(path=str(self._folder / f"{name}.png"))

    def come_by_the_hospital(self, identity):
        page = self.page
        page.goto(URL)
        page.get_by_role("link", name="Log in").click()
        page.get_by_role("link", name="Example Hospital").wait_for()
        self.picture("first-day-log-in")
        come_by_the_hospital(page, identity)
        page.wait_for_url(f"{URL}/**")

    def ask_to_join(self):
        page = self.page
        page.get_by_role("link", name="Ask to join one").click()
        page.get_by_label("Virtual organisation").select_option(VO)
        page.get_by_label("researcher").check()
        page.get_by_label("Message").fill("I segment kidneys in the imaging group.")
        self.picture("first-day-ask")
        page.get_by_role("button", name="Ask to join").click()
        page.get_by_text("You have asked to join as researcher").wait_for()

    def let_in(self, chief, identity):
        log_in(self.page, chief)
        self.page.get_by_role("link", name="Members").click()
        self.page.get_by_role("link", name=identity).click()
        self.page.get_by_label("Reason").fill("works in the imaging group")
        self.picture("first-day-decide")
        self.page.get_by_role("button", name="Approve with these roles").click()
        self.page.wait_for_url(f"{URL}/members")

    def start(self, app, **settings):
        page = self.page
        page.goto(f"{URL}/apps")
        page.get_by_role("link", name=app, exact=True).click()
        page.get_by_label("Name of the run").fill("first")
        for name, value in settings.items():
            page.get_by_label(name, exact=True).fill(value)
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/runs/*")

    def open(self, path=""):
        """What the page of a run leads to, or what is below that, in a tab of its own."""
        link = self.page.get_by_role("link", name="Open", exact=True)
        link.wait_for(timeout=STARTS_MS)
        tab = self.context.new_page()
        tab.goto(link.get_attribute("href") + path)
        return tab


def asks_for_a_login(page, address):
    page.goto(address)
    return page.url.startswith(people.ISSUER)


def test_from_the_institutions_login_to_a_desktop_and_out_again(site, cluster, newcomer, chief, browser, tmp_path):
    with turn("site program"):
        site.images_for("desktop")
    nora, theirs = Visitor(browser, tmp_path), Visitor(browser, tmp_path)
    nora.come_by_the_hospital(newcomer)
    nora.ask_to_join()
    theirs.let_in(chief, newcomer)
    ready(cluster, newcomer)
    nora.page.goto(f"{URL}/join")
    nora.page.get_by_text(f"{chief} has approved your request").wait_for()

    nora.start("batch", args=SCRIPT)
    nora.page.get_by_role("log").get_by_text("scan 17 is read").wait_for(timeout=STARTS_MS)
    nora.picture("first-day-job")
    brought_along = people.FOLDERS / VO / "private" / newcomer / "first.ipynb"
    write_notebook(brought_along, "print(6 * 7)")
    brought_along.chmod(0o666)
    nora.start("notebook", memory="1Gi")
    notebook = nora.open("/first.ipynb")
    assert run_cell(notebook, STARTS_MS, 2 * NOW_S) == "42"
    nora.picture("first-day-notebook", notebook)
    nora.start("desktop", memory="512Mi")
    desktop = nora.open()
    screen = desktop.locator("canvas").first
    until("the desktop is painted", lambda: screen.is_visible() and screen.evaluate(COLOURS) > 100, 2 * NOW_S)
    nora.picture("first-day-desktop", desktop)

    nora.page.goto(URL)
    nora.page.get_by_role("button", name="Log out").click()
    nora.page.get_by_role("heading", name="You are logged out").wait_for()
    for tab in (notebook, desktop):
        address = tab.url
        until("its address asks for a login", lambda tab=tab, to=address: asks_for_a_login(tab, to), 2 * NOW_S)
    assert asks_for_a_login(nora.page, f"{URL}/runs")
