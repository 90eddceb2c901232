"""People who log in at the local site's own identity provider: what they get by it, and what ends with their membership."""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import people
import pytest
import requests
from browsers import come_by_the_hospital
from hpc_machine import until
from keycloak.exceptions import KeycloakError
from machine import output_on, process_in
from people import ISSUER, account, administrator, gone, leave, log_in, member, person, ready

from primage.clients.cluster import Cluster, Ref, Refused
from primage.contract import custom_resources as custom
from primage.contract import names
from primage.contract.login import KEYCLOAK

VO, SPACE = "vo.primage.eu", "vo-dot-primage-dot-eu"
API = "https://10.89.77.11:6443"
API_AUTHORITY = "/var/lib/primage/local/kubeconfig.ca.crt"
NOW_S = 30
"""A long time for what takes two seconds where nothing else runs."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Somebody's machine, with nothing of an operator's on it but the checkout."""
    return tmp_path_factory.mktemp("ada")


@pytest.fixture(scope="module")
def environment(home):
    return {**os.environ, "PRIMAGE_HOME": str(home), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def ada(admin, cluster):
    with person(admin, cluster, "ada", f"/{VO}/researcher") as made:
        yield made


@pytest.fixture(scope="module")
def logged_in(ada, environment, home):
    return log_in(ada[0], environment=environment, folder=home)


def status_of(token, path="/api/v1/namespaces/default/pods"):
    return requests.get(f"{API}{path}", headers={"Authorization": f"Bearer {token}"}, verify=API_AUTHORITY, timeout=30).status_code


def who(token):
    url = f"{API}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    said = requests.post(url, json=asked, headers={"Authorization": f"Bearer {token}"}, verify=API_AUTHORITY, timeout=30)
    return said.json()["status"]["userInfo"]["username"]


def credential(environment):
    """What kubectl is given."""
    run = [sys.executable, "-m", "primage", "credential", str(Path(environment["PRIMAGE_HOME"]) / "logins/local/login.json")]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["status"]["token"]


def test_who_logs_in_is_who_they_are_to_kubernetes_and_has_what_their_role_allows(logged_in, ada, environment, home):
    assert logged_in["identity"] == ada[0]
    assert f"/{VO}/researcher" in logged_in["groups"]
    hers = Cluster(str(logged_in["kubeconfig"]))
    assert who(credential(environment)) == f"primage:{ada[0]}"
    hers.list("v1", "Pod", names.namespace_for(ada[0]))
    for namespace in ("member1-at-primage-dot-eu", "training-dot-primage-dot-eu", "primage-system", "kube-system"):
        for kind in ("Pod", "Secret"):
            with pytest.raises(Refused) as refused:
                hers.list("v1", kind, namespace)
            assert refused.value.status == 403
    with pytest.raises(Refused):
        hers.list(custom.API_VERSION, custom.MEMBER, SPACE)
    for file in (home / "logins").rglob("*"):
        assert file.is_dir() or file.suffix == ".lock" or file.stat().st_mode & 0o077 == 0, file
    assert "token" not in (home / "logins/local/kubeconfig").read_text().replace("login.json", ""), "no secret is in a kubeconfig"


def test_a_member_runs_a_job_as_themselves(logged_in, ada, environment, home, cluster, repository):
    stack = f"batch/{ada[0]}_{VO}.local--hello"
    settings = {
        "name": "hello",
        "image": "primage/base:1",
        "command": ["sh", "-c", "id -u; echo hello"],
        "cpu": "50m",
        "memory": "32Mi",
    }
    given = [f"--config=job.{key}={json.dumps(value)}" for key, value in settings.items()]
    own = {**environment, "PRIMAGE_KUBECONFIG": str(logged_in["kubeconfig"])}

    def primage(*arguments):
        run = [sys.executable, "-m", "primage", *arguments]
        return subprocess.run(run, env=own, cwd=repository, capture_output=True, text=True, timeout=300, check=False)

    up = primage("up", stack, *given)
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        uid = member(cluster, ada[0])["spec"]["uid"]
        assert primage("logs", stack).stdout.split("\n")[:2] == [str(uid), "hello"]
    finally:
        down = primage("destroy", stack)
        assert down.returncode == 0, down.stderr


@pytest.fixture
def audited(ada, environment):
    """Asks `primage audit` for a while back, as an operator or as her; what it ended with, and the lines."""

    def ask(*more, **given):
        run = [sys.executable, "-m", "primage", "audit", "local", "--since", "1h", "--json", *more]
        done = subprocess.run(
            run, env={**os.environ, **given}, cwd=people.ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        return done, [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []

    return ask


def test_what_somebody_was_given_did_and_was_refused_is_in_the_audit_log_and_no_secret_is(
    logged_in, ada, environment, home, cluster, audited
):
    space, hers = names.namespace_for(ada[0]), Cluster(str(logged_in["kubeconfig"]))
    hidden = secrets.token_hex(20)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hers", "namespace": space}, "stringData": {"key": hidden}}
    hers.apply(secret, manager="ada")
    hers.get(Ref.of(secret))
    hers.apply(job(space, member(cluster, ada[0])["spec"]["uid"]), manager="ada")
    until("her job runs", lambda: running(cluster, space), 120)
    pod = Ref.of(running(cluster, space)[0])
    assert hers.execute(pod, ["echo", "said"])[:2] == (0, "said\n")
    with pytest.raises(Refused):
        hers.list("v1", "Secret", SPACE)
    hers.delete(Ref("batch/v1", "Job", "long", space), propagation="Background")
    hers.delete(Ref.of(secret))
    done, lines = audited("--member", ada[0], "--vo", VO)
    assert done.returncode == 0, done.stderr
    assert not done.stderr or "begins at" in done.stderr
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    said = {(line["who"]["account"], line["verb"], line["object"]["kind"], line["object"]["name"]) for line in lines}
    for expected in (
        ("given", "role", "researcher"),
        ("launched", "jobs", "long"),
        ("opened", "pods/exec", pod.name),
        ("read-secret", "secrets", "hers"),
        ("refused", "secrets", ""),
        ("stopped", "jobs", "long"),
    ):
        assert (ada[0], *expected) in said
    (role,) = [line for line in lines if line["verb"] == "given"]
    assert (role["who"]["source"], role["why"].split(";")[0]) == ("identity-provider", "the groups of the account")
    hers_own, _ = audited(PRIMAGE_KUBECONFIG=str(logged_in["kubeconfig"]))
    assert hers_own.returncode == 1
    assert "is for its operators" in hers_own.stdout
    login = (home / "logins/local/login.json").read_text()
    unsaid = [hidden, credential(environment), *(word for word in login.split('"') if len(word) > 100)]
    logs = output_on("primage-local-front", "cat", "/var/log/kubernetes/audit.log", timeout_s=60)
    logs += "".join(file.read_text() for file in (people.FOLDERS / names.AUDIT_FOLDER).iterdir())
    assert '"name":"long"' in logs
    assert [word[:9] for word in unsaid if word in logs] == []


def test_a_number_is_kept_at_the_provider_and_is_nobodys_to_change(ada, admin, cluster, environment):
    uid = member(cluster, ada[0])["spec"]["uid"]
    assert admin.get_user(ada[1])["attributes"]["uid"] == [str(uid)]
    token = people.account_token(ada[0])
    header = {"Authorization": f"Bearer {token}"}
    mine = requests.get(f"{ISSUER}/account/", headers={**header, "Accept": "application/json"}, verify=people.AUTHORITY, timeout=30)
    assert mine.status_code == 200
    write = partial(requests.post, f"{ISSUER}/account/", headers=header, verify=people.AUTHORITY, timeout=30)
    assert write(json={**mine.json(), "firstName": "Countess"}).status_code == 204
    write(json={**mine.json(), "firstName": "Countess", "username": "member1@primage.eu", "attributes": {"uid": ["40001"]}})
    after = admin.get_user(ada[1])
    assert after["firstName"] == "Countess", "what people may change they can"
    assert (after["username"], after["attributes"]["uid"]) == (ada[0], [str(uid)])


def tampered(token):
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["preferred_username"] = "member1@primage.eu"
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.{signature}"


def unsigned(token):
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


def test_nobody_is_believed_but_by_the_issuers_own_word_for_this_very_purpose(logged_in, ada, environment, cluster):
    token = credential(environment)
    assert status_of(token) == 403, "known, and without rights there"
    assert status_of(tampered(token)) == 401
    assert status_of(unsigned(token)) == 401
    assert status_of(token[:-4] + "AAAA") == 401
    assert status_of(people.account_token(ada[0])) == 401, "of the same realm, for another audience"
    assert status_of(people.master_token(cluster)) == 401, "of another realm of the same server"


def test_a_token_to_refresh_with_is_good_once_and_who_uses_a_copy_ends_the_login(ada, environment, home, tmp_path):
    elsewhere = {**environment, "PRIMAGE_HOME": str(tmp_path)}
    log_in(ada[0], environment=elsewhere, folder=tmp_path)
    file = tmp_path / "logins/local/login.json"
    copy = file.read_text()
    assert status_of(credential(elsewhere)) == 403
    run = [sys.executable, "-m", "primage", "credential", str(file)]
    renewed = file.read_text()
    file.write_text(copy)
    stolen = subprocess.run(run, env=elsewhere, capture_output=True, text=True, timeout=60, check=False)
    assert stolen.returncode != 0
    assert "log in again" in stolen.stderr
    file.write_text(renewed)
    assert subprocess.run(run, env=elsewhere, capture_output=True, timeout=60, check=False).returncode != 0, "its owner notices"


def test_after_logout_nothing_is_left_of_a_login(ada, environment, tmp_path):
    elsewhere = {**environment, "PRIMAGE_HOME": str(tmp_path)}
    log_in(ada[0], environment=elsewhere, folder=tmp_path)
    kept = (tmp_path / "logins/local/login.json").read_text()
    run = [sys.executable, "-m", "primage", "logout", "local"]
    assert subprocess.run(run, env=elsewhere, cwd=people.ROOT, capture_output=True, timeout=60, check=False).returncode == 0
    assert [path.name for path in (tmp_path / "logins/local").iterdir()] == ["login.lock"]
    stolen = tmp_path / "stolen.json"
    stolen.write_text(kept)
    run = [sys.executable, "-m", "primage", "credential", str(stolen)]
    assert subprocess.run(run, env=elsewhere, capture_output=True, timeout=60, check=False).returncode != 0


def test_a_wrong_password_lets_nobody_in(ada, environment):
    url = people.login_url()
    assert "kc-form-login" in people.answer(url, ada[0], "guessed guessed").text


def test_who_leaves_loses_their_rights_at_once_and_finds_everything_on_coming_back(admin, cluster, environment, tmp_path):
    with person(admin, cluster, "grace", f"/{VO}/researcher") as (identity, user):
        space = names.namespace_for(identity)
        elsewhere = {**environment, "PRIMAGE_HOME": str(tmp_path)}
        hers = Cluster(str(log_in(identity, environment=elsewhere, folder=tmp_path)["kubeconfig"]))
        uid = member(cluster, identity)["spec"]["uid"]
        hers.apply(job(space, uid), manager="grace")
        until("her job runs", lambda: running(cluster, space), 120)
        leave(admin, user, f"/{VO}/researcher")
        until("her rights are gone", lambda: not bindings(cluster, space), NOW_S)
        with pytest.raises(Refused):
            hers.list("v1", "Pod", space)
        until("her job is suspended", lambda: cluster.get(Ref("batch/v1", "Job", "long", space))["spec"].get("suspend"), NOW_S)
        assert cluster.get(Ref("v1", "Namespace", space))
        admin.group_user_add(user, admin.get_group_by_path(f"/{VO}/researcher")["id"])
        until("she has her rights again", lambda: bindings(cluster, space), NOW_S)
        until("her job goes on", lambda: not cluster.get(Ref("batch/v1", "Job", "long", space))["spec"].get("suspend"), NOW_S)
        assert member(cluster, identity)["spec"]["uid"] == uid


def job(space, uid):
    from primage.contract.pod_security import container_security, pod_security

    container = {
        "name": "long",
        "image": json.loads(Path("/var/lib/primage/local/images.json").read_text())["primage/base:1"],
        "command": ["sleep", "600"],
        "resources": {"requests": {"cpu": "20m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "16Mi"}},
        "securityContext": container_security(),
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": pod_security(uid, 20001),
        "containers": [container],
    }
    metadata = {"name": "long", "namespace": space}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}


def running(cluster, space):
    return [pod for pod in cluster.list("v1", "Pod", space, labels="job-name=long") if pod["status"].get("phase") == "Running"]


def bindings(cluster, space):
    found = cluster.list("rbac.authorization.k8s.io/v1", "RoleBinding", space)
    return [one for one in found if any(subject["kind"] == "User" for subject in one.get("subjects") or [])]


def test_groups_that_are_no_role_and_names_that_are_no_identity_give_nothing(admin, cluster):
    vo = admin.get_group_by_path(f"/{VO}")["id"]
    strange = [admin.create_group({"name": name}, parent=vo) for name in ("cluster-admin", "a b.c", "a.b", "x" * 200)]
    mallory = account(admin, "mallory@example.org")
    nameless = account(admin, "no-identity", f"/{VO}/researcher")
    try:
        for group in strange:
            admin.group_user_add(mallory, group)
        with person(admin, cluster, "eve", f"/{VO}/guest"):
            # Who came later is a member by now: a comparison has seen the others.
            assert not member(cluster, "mallory@example.org")["spec"]
            assert not [obj for obj in cluster.list(custom.API_VERSION, custom.MEMBER) if obj["spec"]["identity"] == "no-identity"]
    finally:
        for user in (mallory, nameless):
            admin.delete_user(user)
        for group in strange:
            admin.delete_group(group)


def test_who_comes_by_their_institution_has_its_domain_and_nothing_until_somebody_puts_them_into_a_group(
    admin, cluster, environment, browser, tmp_path
):
    there = administrator(cluster, "hospital")
    name = f"nora{secrets.token_hex(3)}"
    own, identity = f"{name}@elsewhere.example.org", f"{name}@hospital.example.org"
    known = there.create_user({"username": own, "email": own, "enabled": True, "credentials": [people.CREDENTIAL], **people.NAME})
    elsewhere = {**environment, "PRIMAGE_HOME": str(tmp_path)}

    def visit(url):
        # The site's authority is not among the browser's.
        page = browser.new_context(ignore_https_errors=True, viewport={"width": 900, "height": 700}).new_page()
        page.goto(url)
        page.screenshot(path=tmp_path / "login.png")
        come_by_the_hospital(page, own)
        page.get_by_text("You can close this page.").wait_for()

    try:
        arrived = log_in(identity, environment=elsewhere, folder=tmp_path, visit=visit)
        assert arrived["identity"] == identity, "whatever the institution says, it names people of its own domain"
        hers = Cluster(str(arrived["kubeconfig"]))
        for namespace in ("default", SPACE, "member1-at-primage-dot-eu"):
            with pytest.raises(Refused):
                hers.list("v1", "Pod", namespace)
        (user,) = admin.get_users({"username": identity, "exact": True})
        admin.group_user_add(user["id"], admin.get_group_by_path(f"/{VO}/researcher")["id"])
        try:
            ready(cluster, identity)
            hers.list("v1", "Pod", names.namespace_for(identity))
        finally:
            gone(admin, cluster, identity, user["id"])
    finally:
        there.delete_user(known)


def database(cluster):
    """The process that keeps Keycloak's accounts; 0 while there is none."""
    return process_in(cluster.get(Ref("v1", "Pod", f"{KEYCLOAK}-0", names.SYSTEM_NAMESPACE)), "postgresql")


def test_a_database_that_is_killed_during_logins_loses_nobody(ada, admin, cluster):
    newcomers, ended = [], threading.Event()

    def arrive():
        for number in range(200):
            if ended.is_set():
                return
            with suppress(KeycloakError):
                newcomers.append(account(admin, f"killed{secrets.token_hex(3)}-{number}@example.org"))

    writer = threading.Thread(target=arrive)
    writer.start()
    try:
        until("accounts are being made", lambda: len(newcomers) > 3, NOW_S)
        server = database(cluster)
        assert server, "it does not run"
        os.kill(server, signal.SIGKILL)
        until("it is started again", lambda: database(cluster) not in (0, server), NOW_S)
        until("people log in again", lambda: logs_in(ada[0]), 60)
        before = len(newcomers)
        until("accounts are made again", lambda: len(newcomers) > before, 60)
    finally:
        ended.set()
        writer.join(60)
    there = {user["id"] for user in admin.get_users({"search": "killed"})}
    assert set(newcomers) <= there, "who was told that the account is made has it"
    assert bindings(cluster, names.namespace_for(ada[0])), "and nobody lost a right meanwhile"
    for user in there:
        admin.delete_user(user)


def logs_in(identity):
    with suppress(requests.RequestException, AssertionError, StopIteration, KeyError):
        return bool(people.account_token(identity))
    return False
