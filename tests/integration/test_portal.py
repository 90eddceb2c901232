"""The portal on the standing site, in a real browser, with people of its own Keycloak."""

import json
import ssl
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest
import requests
from hpc_machine import until
from people import AUTHORITY, FOLDERS, account, person
from portal_visits import URL, by_hand, csrf, log_in, post

from primage.clients.cluster import Ref
from primage.contract import names
from primage.contract.hpc import MANAGER, log_folder
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.kubernetes.waiting import pods_of
from primage.projects.project import parse_stack_name

VO = "vo.primage.eu"
COOKIE = "__Host-primage-session"
NOW_S = 60
SCRIPT = "trap exit TERM; echo begun; id -u; sleep 600 & wait"
CONNECT = """
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    tried = socket.socket()
    tried.settimeout(2)
    print(place, tried.connect_ex((host, int(port))) == 0)
"""


@pytest.fixture(scope="module")
def ada(admin, cluster):
    with person(admin, cluster, "ada", f"/{VO}/researcher") as (identity, _):
        yield identity


def wrong(message):
    """An error, other than that a form with a mistake in it is refused."""
    return message.type == "error" and "status of 422" not in message.text


def test_a_member_logs_in_starts_a_job_reads_its_log_stops_it_and_logs_out(ada, cluster, browser, tmp_path):
    """The whole way in one browser, whose console stays empty: no page breaks the policy that it comes with."""
    space, complaints = names.namespace_for(ada), []
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1000, "height": 800})
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if wrong(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    log_in(page, ada)
    page.wait_for_url(f"{URL}/")
    assert page.get_by_role("heading", level=1).inner_text() == f"You are {ada}"
    assert page.get_by_text("runs jobs on the VO's data").is_visible()
    assert page.get_by_role("meter").count() > 2
    cookie = next(one for one in context.cookies() if one["name"] == COOKIE)
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    assert COOKIE not in page.evaluate("document.cookie")

    page.get_by_role("link", name="Applications").click()
    page.get_by_role("link", name="batch", exact=True).click()
    page.get_by_label("Name of the run").fill("mine")
    page.get_by_label("gpu", exact=True).fill("-1")
    page.get_by_label("args", exact=True).fill(SCRIPT)
    page.get_by_role("button", name="Start").click()
    page.get_by_text("must be at least 0").wait_for()
    page.get_by_label("gpu", exact=True).fill("")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/runs/*")
    page.get_by_role("log").get_by_text("begun").wait_for(timeout=NOW_S * 1000)
    page.locator("strong", has_text="running").wait_for(timeout=NOW_S * 1000)
    page.screenshot(path=str(tmp_path / "run.png"))
    job = Ref("batch/v1", "Job", "hello-mine", space)
    (pod,) = pods_of(cluster, job)
    assert cluster.logs(space, pod["metadata"]["name"]).split()[:2] == ["begun", str(pod["spec"]["securityContext"]["runAsUser"])]

    page.get_by_role("button", name="Stop and remove").click()
    page.wait_for_url(f"{URL}/runs")
    until("it is gone", lambda: cluster.get(job) is None, NOW_S)
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="You are logged out").wait_for()
    thief = requests.get(f"{URL}/runs", cookies={COOKIE: cookie["value"]}, verify=AUTHORITY, timeout=30, allow_redirects=False)
    assert thief.headers["Location"] == "/login?next=%2Fruns", "a stolen cookie is worth nothing"
    page.get_by_role("link", name="Log in again").click()
    page.locator("#kc-form-login").wait_for()  # Keycloak has forgotten them too
    context.close()
    assert complaints == []


AXE = """
() => {
  const luminance = colour => {
    const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/[0-9.]+/g).map(part => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/^rgba\\(.*, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest(".skip, option, meter")) continue;
    const [one, other] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push([element.outerHTML.slice(0, 120), contrast]);
  }
  for (const element of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!element.labels.length) found.push([element.outerHTML.slice(0, 120), "no label"]);
  for (const element of document.querySelectorAll("a, button"))
    if (!element.textContent.trim()) found.push([element.outerHTML.slice(0, 120), "no name"]);
  if (document.querySelectorAll("h1").length !== 1 || !document.documentElement.lang || !document.title) found.push("no title");
  return found;
}
"""
"""What can be seen of WCAG's contrast (1.4.3), names (4.1.2), labels (3.3.2), language (3.1.1) and titles (2.4.2)."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_and_named_in_both_schemes_and_without_script(ada, browser, scheme, tmp_path):
    context = browser.new_context(ignore_https_errors=True, java_script_enabled=True, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{URL}/")
    assert page.evaluate(AXE) == []
    log_in(page, ada)
    for path in ("/", "/apps", f"/apps/{VO}/batch", f"/apps/{VO}/htc", "/runs", "/nowhere"):
        page.goto(f"{URL}{path}")
        assert page.evaluate(AXE) == [], path
        page.screenshot(path=str(tmp_path / f"{scheme}-{path.strip('/').replace('/', '-') or 'home'}.png"), full_page=True)
    cookies = context.cookies()
    context.close()
    plain = browser.new_context(ignore_https_errors=True, java_script_enabled=False)
    plain.add_cookies(cookies)
    page = plain.new_page()
    page.goto(f"{URL}/runs")
    assert page.get_by_role("heading", level=1).inner_text() == "Runs"
    plain.close()


def test_a_member_of_another_vo_gets_nothing_of_this_one(admin, cluster, ada):
    hers, theirs = by_hand(ada), None
    with person(admin, cluster, "eve", "/training.primage.eu/admin") as (identity, _):
        theirs = by_hand(identity)
        assert theirs.get(f"{URL}/apps/{VO}/batch", timeout=30).status_code == 404
        assert post(theirs, f"/apps/{VO}/batch", csrf=csrf(theirs), run="x", do="start").status_code == 404
        assert post(theirs, "/logout", csrf=csrf(hers)).status_code == 403, "another session's form"
        members = theirs.get(f"{URL}/members", timeout=30).text
        assert f'<a href="/members/training.primage.eu/{quote(identity)}">{identity}</a>' in members, (
            "who administers a VO sees its members"
        )
        assert ada not in members
        assert "You may not see who is in this VO" in hers.get(f"{URL}/members", timeout=30).text
        ended = post(theirs, "/logout", csrf=csrf(theirs))
        assert ended.status_code == 200


def test_who_is_in_no_vo_logs_in_and_kubernetes_gives_them_nothing(admin):
    made = account(admin, "nobody-yet@example.org")
    try:
        visitor = by_hand("nobody-yet@example.org")
        assert "not a member of a virtual organisation" in visitor.get(f"{URL}/", timeout=30).text
        assert visitor.get(f"{URL}/runs", timeout=30).status_code == 403
    finally:
        admin.delete_user(made)


def test_the_pod_has_no_token_and_reaches_the_api_server_and_the_provider_alone(cluster):
    (pod,) = cluster.list("v1", "Pod", names.SYSTEM_NAMESPACE, labels=f"{names.LABEL_APP}=portal")
    ref = Ref.of({"apiVersion": "v1", "kind": "Pod", **pod})
    code, said, _ = cluster.execute(ref, ["sh", "-c", "ls /var/run/secrets 2> /dev/null; id -u; touch /opt/x 2>&1; true"])
    assert code == 0
    assert said.splitlines()[0] == "10004"
    assert "Read-only file system" in said
    hosts = ["10.89.77.11:6443", "10.89.77.11:30443", "10.89.77.11:22", "10.89.77.11:5000", "10.89.77.13:22", "10.89.77.11:2379"]
    _, said, _ = cluster.execute(ref, ["python3", "-c", CONNECT, *hosts])
    assert [line.endswith("True") for line in said.splitlines()] == [True, True, False, False, False, False], said
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    asked = {
        "user": f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:portal",
        "resourceAttributes": {"verb": "get", "resource": "pods"},
    }
    answered = cluster._call(
        "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", None, json.dumps({**review, "spec": asked})
    )
    assert answered["status"]["allowed"] is False


def test_a_runs_page_shows_its_queue_and_when_asked_what_an_hpc_job_has_written(ada, cluster):
    """By the member's own token, which may enter the queue's pod and make the one that reads HOME."""
    visitor, space, engine = by_hand(ada), names.namespace_for(ada), EmbeddedEngine()
    queue, centre = (parse_stack_name(f"{app}/{ada}_{VO}.local--shown") for app in ("htc", "hpc"))
    consumer = {"image": "primage/base:1", "command": ["true"], "cpu": "100m", "memory": "64Mi"}
    producer = {"arguments": ["a", "b"], "cpu": "100m"}
    made = {"name": "words", "parallelism": 1, "producer": producer, "consumer": consumer}

    def page(stack):
        return visitor.get(f"{URL}/runs/{names.stack_label(str(stack))}", timeout=60).text

    try:
        engine.up(queue, Options(overrides={"htc": made}))
        until("the queue has answered", lambda: "2 of 2 tasks done" in page(queue), NOW_S)
        assert "Everything has ended." in page(queue)
    finally:
        engine.destroy(queue, Options())

    job = hpc_job(space, names.stack_label(str(centre)))
    try:
        uid = cluster.apply(job, manager="test")["metadata"]["uid"]
        folder = FOLDERS / VO / "private" / ada / log_folder("train-shown", uid)
        folder.mkdir(parents=True)
        (folder / "1.log").write_text("epoch 1\n")
        assert "Show what it has written" in page(centre)
        assert post(visitor, f"/runs/{names.stack_label(str(centre))}/output", csrf=csrf(visitor)).status_code == 303
        until("it is read", lambda: "epoch 1" in page(centre), NOW_S)
        assert [pod for pod in cluster.list("v1", "Pod", space) if pod["metadata"]["name"].startswith("logs-")] == []
    finally:
        cluster.delete(Ref.of(job))


def hpc_job(namespace, label):
    """One that its connector has no script for: what it has written is read all the same."""
    labels = {names.LABEL_MANAGED_BY: "primage", names.LABEL_STACK: label}
    container = {"name": "job", "image": "hpc.primage.eu/none", "resources": {"limits": {"cpu": "10m", "memory": "16Mi"}}}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train-shown", "namespace": namespace, "labels": labels},
        "spec": {"managedBy": MANAGER, "backoffLimit": 0, "template": {"spec": pod}},
    }


def test_tls_is_the_sites_own_and_other_names_are_refused():
    context = ssl.create_default_context(cafile=AUTHORITY)
    asked = urllib.request.Request(f"{URL}/", headers={"Host": "evil.example.org"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, context=context, timeout=30)
    assert refused.value.code == 421
