"""Notebooks and web sessions without a login on the standing site, in a real browser: those that `primage open` forwards."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import knocks
import pytest
from browsers import run_cell, write_notebook
from files import holding
from hpc_machine import until

from primage.clients.cluster import Ref
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.kubernetes.waiting import pods_of
from primage.operations.sessions import session_of
from primage.paths import log_dir, state_dir
from primage.projects.project import parse_stack_name

VO = "vo-dot-primage-dot-eu"
HOME = Path("/var/lib/primage/local/shared/home/vo.primage.eu")
NOTEBOOK = parse_stack_name("notebook/vo.primage.eu.local--test")
IDLE = parse_stack_name("notebook/vo.primage.eu.local--idle")
WEB = parse_stack_name("web/vo.primage.eu.local--test")
BASE, FOLDER = "/notebook-test/", "/web-test/"
CELL = "import os; print(os.getuid(), os.access('/primage/DATALAKE', os.W_OK), 6 * 7)"


@pytest.fixture(scope="module")
def engine(site):
    found = EmbeddedEngine()
    yield found
    for stack in (NOTEBOOK, IDLE, WEB):
        found.destroy(stack, Options())


@pytest.fixture(scope="module")
def idle(engine):
    """Left alone from here on, while other tests go on."""
    engine.up(IDLE, Options(overrides={"notebook.name": "idle", "notebook.idle_seconds": 10, "notebook.login": False}))
    return session_of(IDLE, EmbeddedEngine(), Options())


@pytest.fixture(scope="module")
def notebook(engine, idle):
    engine.up(NOTEBOOK, Options(overrides={"notebook.name": "notebook", "notebook.login": False}))
    return session_of(NOTEBOOK, engine, Options())


@pytest.fixture(scope="module")
def pages():
    """A folder of the VO's HOME with a page, and links that lead out of it."""
    folder = HOME / "shared" / "pages"
    folder.mkdir()
    (folder / "index.html").write_text("<h1>Results</h1>")
    (folder / "elsewhere").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("../../private")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def web(engine, pages):
    engine.up(WEB, Options(overrides={"web": {"folder": "HOME/shared/pages", "login": False}}))
    return session_of(WEB, engine, Options())


def ask(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def token_of(url):
    return url.rpartition("token=")[2]


def test_a_cell_runs_in_a_browser(notebook, browser, tmp_path):
    """As nobody in particular, with DATALAKE read-only, and what is saved is in HOME."""
    saved = HOME / "private" / "vo.primage.eu" / "trial.ipynb"
    write_notebook(saved, CELL)
    os.chown(saved, 10001, 20001)
    page = browser.new_page(viewport={"width": 1200, "height": 700})
    problems = []
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.on("request", lambda request: problems.append(request.url) if "127.0.0.1" not in request.url else None)
    try:
        with notebook.forward() as forward:
            page.goto(notebook.url(forward.port).replace("/lab/tree/HOME/private", "/lab/tree/HOME/private/trial.ipynb"))
            assert run_cell(page) == "10001 False 42"
            page.keyboard.press("Control+s")
            until("it is saved", lambda: "10001 False 42" in saved.read_text())
            page.screenshot(path=tmp_path / "notebook.png")
            elsewhere = [url for url in problems if "127.0.0.1" not in url and not url.startswith(("data:", "blob:"))]
            assert elsewhere == []
    finally:
        page.close()
        saved.unlink()


def test_nobody_gets_in_without_the_token(notebook):
    with notebook.forward() as forward:
        assert ask(forward.port, f"{BASE}api/contents")[0].status == 403
        assert ask(forward.port, f"{BASE}lab")[0].status == 302
        assert ask(forward.port, f"{BASE}api/contents", Authorization="token wrong")[0].status == 403
        right = token_of(notebook.url(forward.port))
        assert ask(forward.port, f"{BASE}api/contents", Authorization=f"token {right}")[0].status == 200
        # A page elsewhere that a browser is lured to cannot speak with it under a name of its own.
        assert ask(forward.port, f"{BASE}api/contents", Authorization=f"token {right}", Host="evil.example")[0].status == 403


def test_much_passes_through_whole(notebook):
    """20 MiB, by a connection that the server closes."""
    size = 20 << 20
    large = HOME / "shared" / "large.bin"
    large.write_bytes(os.urandom(size))
    try:
        with notebook.forward() as forward:
            head = {"Authorization": f"token {token_of(notebook.url(forward.port))}", "Connection": "close"}
            answer, body = ask(forward.port, f"{BASE}files/HOME/shared/large.bin", **head)
            assert answer.status == 200
            assert body == large.read_bytes()
    finally:
        large.unlink()


def test_it_is_not_on_the_network(cluster, notebook, web):
    """Also where nothing enforces network policies: the servers listen on their pods' loopback alone."""
    for session in (notebook, web):
        pod = pods_of(cluster, session.job)[-1]
        address = pod["status"]["podIP"]
        assert knocks.from_pod(cluster, pod, "127.0.0.1", session.port) == "open"
        assert knocks.from_pod(cluster, pod, address, session.port) == "closed", "no policy keeps a pod from itself"
        assert knocks.from_machine("front", address, session.port) == "closed"
    assert knocks.from_machine("front", "10.89.77.11", 6443) == "open", "a machine finds what is open"


def test_no_state_holds_a_token(notebook):
    token = token_of(notebook.url(1)).encode()
    assert not [*holding(token, state_dir()), *holding(token, log_dir())]
    pod = json.dumps(pods_of(notebook.cluster, notebook.job))
    assert token.decode() not in pod


def test_a_killed_server_comes_back(cluster, notebook):
    (pod,) = [pod for pod in pods_of(cluster, notebook.job) if pod["status"]["phase"] == "Running"]
    cluster.delete(Ref.of(pod), propagation="Background")

    def back():
        running = [p for p in pods_of(cluster, notebook.job) if p["metadata"]["uid"] != pod["metadata"]["uid"]]
        return bool(running) and notebook.runs()

    until("another pod serves", back)
    with notebook.forward() as forward:
        assert ask(forward.port, f"{BASE}api")[0].status == 200


def test_pages_are_served_to_whoever_has_the_token(web, browser, tmp_path):
    with web.forward() as forward:
        assert ask(forward.port, FOLDER)[0].status == 403
        assert ask(forward.port, f"{FOLDER}?token=wrong")[0].status == 403
        page = browser.new_page()
        page.goto(web.url(forward.port))
        assert page.locator("h1").inner_text() == "Results"
        assert "token" not in page.url
        page.close()


def test_links_that_lead_out_and_writing_are_refused(web):
    with web.forward() as forward:
        answer, _ = ask(forward.port, f"{FOLDER}?token={token_of(web.url(forward.port))}")
        assert answer.status == 302
        assert answer.getheader("Referrer-Policy") == "no-referrer"
        cookie = answer.getheader("Set-Cookie")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        known = {"Cookie": cookie.partition(";")[0]}
        assert ask(forward.port, FOLDER, **known)[0].status == 200
        for path in ("elsewhere", "up/", "../../private/", "..%2f..%2fetc/passwd", "../"):
            assert ask(forward.port, FOLDER + path, **known)[0].status in {400, 403, 404}, path
        assert ask(forward.port, f"{FOLDER}index.html", "PUT", **known)[0].status == 403


def test_nobody_there_it_ends_and_opening_starts_it_anew(cluster, idle):
    until("it has ended by itself", idle.ended, timeout_s=240)
    until("it has succeeded", lambda: cluster.get(idle.job)["status"].get("succeeded") == 1)
    before = cluster.get(idle.job)["metadata"]["uid"]
    again = session_of(IDLE, EmbeddedEngine(), Options())
    assert again.runs()
    assert cluster.get(again.job)["metadata"]["uid"] != before


def test_a_web_session_ends_when_idle(engine, web):
    engine.up(WEB, Options(overrides={"web": {"folder": "HOME/shared/pages", "idle_seconds": 10, "login": False}}))
    until("it has ended by itself", web.ended)


def test_a_folder_that_is_not_there_is_named(engine):
    with pytest.raises(PrimageError, match="there is no folder HOME/shared/nowhere below /primage"):
        engine.up(WEB, Options(overrides={"web": {"folder": "HOME/shared/nowhere"}}))


def test_open_as_a_command_until_interrupted(notebook):
    command = [sys.executable, "-m", "primage", "open", str(NOTEBOOK)]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("}"):
            break
    port = int(json.loads("".join(lines))["url"].split(":")[2].split("/")[0])
    assert ask(port, f"{BASE}api")[0].status == 200
    taken = subprocess.run([*command, "--port", str(port)], capture_output=True, text=True, timeout=60, check=False)
    assert taken.returncode == 2
    assert f"cannot listen on port {port} of this machine" in taken.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    with pytest.raises(ConnectionRefusedError):
        ask(port, f"{BASE}api")


def test_what_cannot_be_opened_is_named(site):
    with pytest.raises(PrimageError, match="has nothing to open"):
        session_of(parse_stack_name("batch/vo.primage.eu.local"), EmbeddedEngine(), Options())


def test_destroyed_nothing_is_left(cluster, engine, notebook):
    engine.destroy(NOTEBOOK, Options())
    assert cluster.get(notebook.job) is None
    assert cluster.get(notebook.secret) is None
    assert cluster.get(Ref("networking.k8s.io/v1", "NetworkPolicy", notebook.job.name, VO)) is None
