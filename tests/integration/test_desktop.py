"""A desktop on the standing site: seen, typed into and shut out of in a real browser, and ended in every way."""

import os
import shutil
import socket
from pathlib import Path

import knocks
import pytest
from browsers import EVIL, fill_in
from canvas import COLOURS
from hpc_machine import until
from people import administrator, person
from turns import turn

from primage.clients.cluster import Ref
from primage.clients.port_forward import PortForward
from primage.components.sessions.desktop import WEBSOCKIFY_PORT
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.kubernetes.waiting import pods_of
from primage.operations.sessions import session_of
from primage.projects.project import parse_stack_name

HOME = Path("/var/lib/primage/local/shared/home/vo.primage.eu")
PRIVATE = HOME / "private" / "vo.primage.eu"
DESKTOP = parse_stack_name("desktop/vo.primage.eu.local--test")
IDLE = parse_stack_name("desktop/vo.primage.eu.local--idle")
SMALL = {"desktop.memory": "512Mi", "desktop.reserved_cpu": "20m"}
WITH_TOKEN = {**SMALL, "desktop.login": False}
LEFT_IN_HOME = (".config", ".local", "Desktop")
WINDOW = {"width": 1000, "height": 700}
VIEW = """
address => new Promise(done => {
  const socket = new WebSocket(address);
  socket.onmessage = () => done("seen");
  socket.onerror = () => done("refused");
})
"""


@pytest.fixture(scope="module")
def engine(site):
    with turn("site program"):
        site.images_for("desktop")
    before = {name for name in LEFT_IN_HOME if (PRIVATE / name).exists()}
    found = EmbeddedEngine()
    yield found
    for stack in (DESKTOP, IDLE):
        found.destroy(stack, Options())
    for name in set(LEFT_IN_HOME) - before:
        shutil.rmtree(PRIVATE / name, ignore_errors=True)


@pytest.fixture(scope="module")
def idle(engine):
    """Left alone from here on, while other tests go on."""
    engine.up(IDLE, Options(overrides={**WITH_TOKEN, "desktop.name": "idle", "desktop.idle_seconds": 10}))
    return session_of(IDLE, engine, Options())


@pytest.fixture(scope="module")
def folder(engine):
    """A folder of the VO's, empty."""
    found = HOME / "shared" / "desk"
    found.mkdir()
    os.chown(found, 10001, 20001)
    yield found
    shutil.rmtree(found)


@pytest.fixture(scope="module")
def desktop(engine, idle, folder):
    engine.up(DESKTOP, Options(overrides={**WITH_TOKEN, "desktop.folder": "HOME/shared/desk"}))
    return session_of(DESKTOP, engine, Options())


def pod_of(session):
    """Its pod that runs, the only one."""
    (pod,) = [pod for pod in pods_of(session.cluster, session.job) if pod["status"]["phase"] == "Running"]
    return pod


def knock(port, path, **headers):
    """What a server answers to a browser that asks for a WebSocket: status and first bytes; nothing where it hangs up."""
    wanted = {"Host": f"127.0.0.1:{port}", "Connection": "Upgrade", "Upgrade": "websocket", **headers}
    fixed = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "cHJpbWFnZS1wcm9iZS0xNg=="}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**wanted, **fixed}.items()), "", ""]
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        said = b""
        while b"RFB 003.008\n" not in said and (part := connection.recv(4096)):
            said += part
            if not said.startswith(b"HTTP/1.1 101"):
                break
    return said


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def test_a_desktop_is_painted_and_what_is_typed_into_its_terminal_is_in_home(desktop, folder, browser, tmp_path):
    """It has the size of the browser's window; its user has a name, and an ordinary mask for what others are to read."""
    page = browser.new_page(viewport=WINDOW)
    elsewhere = []
    page.on("request", lambda request: elsewhere.append(request.url) if "127.0.0.1" not in request.url else None)
    written = folder / "typed.txt"
    with desktop.forward() as forward:
        page.goto(desktop.url(forward.port))
        assert "token" not in page.url
        screen = page.locator("canvas").first
        until("it is painted", lambda: screen.is_visible() and screen.evaluate(COLOURS) > 100)
        until("it has the window's size", lambda: screen.evaluate("it => [it.width, it.height]") == list(WINDOW.values()))

        def type_into_a_terminal():
            # Keys pressed while the desktop is still putting itself together are lost, as a person's are.
            page.keyboard.press("Control+Alt+t")
            page.wait_for_timeout(2500)
            page.keyboard.type("cd /primage/HOME/shared/desk && id -un > typed.txt && touch /primage/DATALAKE/x || touch refused\n")
            page.wait_for_timeout(500)
            return (folder / "refused").exists()

        until("a command has run", type_into_a_terminal)
        page.screenshot(path=tmp_path / "desktop.png")
    page.close()
    assert written.read_text() == "primage\n"
    assert (written.stat().st_uid, written.stat().st_mode & 0o777) == (10001, 0o644)
    assert [url for url in elsewhere if not url.startswith(("data:", "blob:"))] == []


def test_a_viewer_needs_the_token_and_a_page_of_the_same_host(cluster, desktop):
    base = desktop.path
    with desktop.forward() as forward:
        token = desktop.url(forward.port).rpartition("token=")[2]
        known = {"Cookie": f"primage_desktop={token}"}
        own = {"Origin": f"http://127.0.0.1:{forward.port}"}
        assert knock(forward.port, f"{base}websockify", **known, **own).endswith(b"RFB 003.008\n")
        assert status(knock(forward.port, f"{base}websockify", **own)) == 403
        assert status(knock(forward.port, f"{base}websockify", Cookie="primage_desktop=wrong", **own)) == 403
        for origin in ("http://evil.example", "http://127.0.0.1:1", f"https://127.0.0.1:{forward.port}", "null", ""):
            assert status(knock(forward.port, f"{base}websockify", **known, Origin=origin)) == 403, origin
        suffix = {"Origin": f"http://127.0.0.1:{forward.port}.evil.example"}
        assert status(knock(forward.port, f"{base}websockify", **known, **suffix)) == 403
        assert status(knock(forward.port, f"{base}websockify", **known)) == 403, "what is no browser's page says no origin"
        assert status(knock(forward.port, f"{base}vnc.html")) == 403
        assert status(knock(forward.port, "/vnc.html", **known)) == 404
    # Behind NGINX, websockify listens on the loopback too.
    with PortForward(cluster, Ref("v1", "Pod", pod_of(desktop)["metadata"]["name"], desktop.job.namespace), WEBSOCKIFY_PORT) as way:
        assert status(knock(way.port, "/websockify", **known, Origin=f"http://127.0.0.1:{way.port}")) != 101
        assert status(knock(way.port, f"/websockify?token={token}", Host=token)) != 101


def test_it_is_not_on_the_network(cluster, desktop):
    pod = pod_of(desktop)
    address = pod["status"]["podIP"]
    for port in (desktop.port, WEBSOCKIFY_PORT):
        assert knocks.from_pod(cluster, pod, "127.0.0.1", port) == "open", port
    for port in (desktop.port, WEBSOCKIFY_PORT, 5900, 6000):
        assert knocks.from_pod(cluster, pod, address, port) == "closed", f"{port}: no policy keeps a pod from itself"
        assert knocks.from_machine("front", address, port) == "closed", port
    assert knocks.from_machine("front", "10.89.77.11", 6443) == "open", "a machine finds what is open"


@pytest.fixture(scope="module")
def dora(cluster):
    with person(administrator(cluster), cluster, "dora", "/vo.primage.eu/researcher") as (identity, _):
        yield identity


@pytest.fixture(scope="module")
def hers(engine, dora):
    """The address of a desktop with a login before it."""
    stack = parse_stack_name(f"desktop/{dora}_vo.primage.eu.local--login")
    engine.up(stack, Options(overrides=SMALL))
    yield session_of(stack, engine, Options()).address
    engine.destroy(stack, Options())


def test_after_a_login_its_owner_sees_it_and_no_page_of_another_tenant_does(dora, hers, browser):
    """A site's tenants are below one domain, so a browser sends the login's cookies along from any of their pages."""
    context = browser.new_context(ignore_https_errors=True, viewport=WINDOW)
    page = context.new_page()
    page.goto(hers)
    fill_in(page, dora)
    screen = page.locator("canvas").first
    until("it is painted", lambda: screen.is_visible() and screen.evaluate(COLOURS) > 100)
    viewer = f"{hers.replace('https', 'wss')}websockify"
    assert page.evaluate(VIEW, viewer) == "seen"
    context.route(f"{EVIL}/**", lambda route: route.fulfill(body="<h1>Look here</h1>", content_type="text/html"))
    page.goto(f"{EVIL}/")
    assert page.evaluate(VIEW, viewer) == "refused"
    context.close()


def test_where_a_part_dies_the_pod_says_which_and_another_takes_its_place(cluster, desktop):
    pod = Ref.of(pod_of(desktop))
    kill = 'for it in /proc/[0-9]*; do [ "$(cat $it/comm)" = Xvnc ] && kill -9 ${it#/proc/}; done'
    cluster.execute(pod, ["bash", "-c", kill])
    until("the pod has failed", lambda: cluster.get(pod)["status"]["phase"] == "Failed")
    (ended,) = [state["state"]["terminated"] for state in cluster.get(pod)["status"]["containerStatuses"]]
    assert ended["exitCode"] == 1
    assert "the X server has ended with status 137" in ended["message"]
    until("another serves", desktop.runs)


def test_nobody_there_it_ends(cluster, idle):
    until("it has ended by itself", idle.ended)
    until("it has succeeded", lambda: cluster.get(idle.job)["status"].get("succeeded") == 1)
    (pod,) = pods_of(cluster, idle.job)
    assert "nobody has used the mouse or the keyboard for 10 s" in cluster.logs(idle.job.namespace, pod["metadata"]["name"])


def test_a_folder_that_is_not_there_is_named(engine):
    with pytest.raises(PrimageError, match="there is no folder HOME/shared/nowhere below /primage"):
        engine.up(IDLE, Options(overrides={**SMALL, "desktop.name": "idle", "desktop.folder": "HOME/shared/nowhere"}))
