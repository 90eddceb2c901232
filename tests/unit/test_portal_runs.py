"""Runs as the portal shows them, and the processes that start and stop them."""

import json
import os
import signal
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_cluster import MemoryCluster
from portal_pages import ACCOUNT, VO, pages
from waiting import until

from portal.clients import jobs
from portal.clients.launches import AT_ONCE, Launches
from portal.domain.errors import RefusedError
from portal.domain.launch import Ended, Work
from portal.domain.runs import PAGE, labels_in_order, progress_of, runs_of, stack_named, when
from portal.domain.turns import Turns
from primage.contract.names import LABEL_MANAGED_BY, LABEL_STACK, stack_label

SPACE = "ada-at-example-dot-org"
STACK = f"batch/{SPACE}_{VO}.local--mine"


@pytest.fixture
def site(tmp_path):
    with pages(tmp_path) as running:
        running.log_in()
        yield running


def job(name="hello-mine", stack=STACK, status=None, **metadata):
    labels = {LABEL_MANAGED_BY: "primage", LABEL_STACK: stack_label(stack)}
    made = {"name": name, "namespace": SPACE, "labels": labels, "creationTimestamp": "2026-01-02T03:04:05Z", **metadata}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": made, "spec": {"completions": 1}, "status": status or {}}


def put(site, *objects):
    from primage.clients.cluster import Ref

    for obj in objects:
        site.clusters.memory.objects[Ref.of(obj)] = obj


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, "waiting"),
        ({"active": 1, "ready": 1}, "running"),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, "done"),
        ({"conditions": [{"type": "Complete", "status": "False"}]}, "waiting"),
        ({"conditions": [{"type": "Failed", "status": "True", "message": "deadline"}]}, "failed"),
    ],
)
def test_a_jobs_state_is_what_its_status_says(status, state):
    assert progress_of(job(status=status)).state == state


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True)


@given(NAMES, NAMES, st.sampled_from(["", "-producer", "-consumers"]))
def test_a_runs_name_is_found_whether_its_label_spells_it_or_not(run, settings_name, part):
    for owner in (SPACE, "a" * 50):
        name = f"htc/{owner}_{VO}.local--{run}"
        assert stack_named(stack_label(name), [f"{settings_name}-{run}{part}"], owner, ["other.example.org", VO], "local") == name


def test_a_label_of_somebody_elses_stack_is_not_ones_own():
    theirs = f"batch/eve-at-example-dot-org_{VO}.local--mine"
    assert stack_named(stack_label(theirs), ["hello-mine"], SPACE, [VO], "local") == ""
    assert stack_named("x" * 63, ["a-" * 200], SPACE, [VO], "local") == ""


def test_runs_come_newest_first_and_page_by_page(site):
    put(
        site,
        *(job(f"j-{n}", f"batch/{SPACE}_{VO}.local--r{n}", creationTimestamp=f"2026-01-02T03:04:{n % 60:02}Z") for n in range(120)),
    )
    first = site.browser.get("/runs").text
    assert first.count('<tr><th scope="row">') == PAGE
    assert "Page 1 of 3" in first
    assert "--r59" in first
    assert site.browser.get("/runs?page=3").text.count('<tr><th scope="row">') == 20
    assert "Page 3 of 3" in site.browser.get("/runs?page=900").text
    wrong = site.browser.get("/runs?page=x")
    assert (wrong.status_code, "not one of the portal&#39;s" in wrong.text) == (422, True)
    assert [run.begun for run in runs_of([job(), job("b", creationTimestamp="2020-01-01T00:00:00Z")])] == ["2020-01-01T00:00:00Z"]


def test_a_list_of_many_jobs_is_read_answer_by_answer_and_too_many_are_refused(site, monkeypatch):
    put(site, *(job(f"j-{n}", f"batch/{SPACE}_{VO}.local--r{n // 2}") for n in range(20)), job("other", "x", labels={}))
    asked = []
    listed = MemoryCluster.listed

    def counted(cluster, of, **given):
        asked.append(given)
        return listed(cluster, of, **given)

    monkeypatch.setattr(MemoryCluster, "listed", counted)
    monkeypatch.setattr(jobs, "AT_A_TIME", 7)
    text = site.browser.get("/runs").text
    assert text.count('<tr><th scope="row">') == 10
    assert [(given.get("metadata"), given.get("after"), given.get("newer")) for given in asked] == [
        (True, "", None),
        (True, "7", None),
        (True, "14", None),
        (None, None, "1"),
    ]
    monkeypatch.setattr(jobs, "MOST", 14)
    assert "there are more than 14 Jobs" in site.browser.get("/runs").text
    monkeypatch.setattr(jobs, "MOST_WHOLE", 1)
    assert "there are more than 1 Jobs" in site.browser.get(f"/runs/{stack_label(f'batch/{SPACE}_{VO}.local--r1')}").text


MADE = st.lists(st.tuples(st.sampled_from("abcde"), st.datetimes().map(lambda when: when.strftime("%Y-%m-%dT%H:%M:%SZ"))))


@given(MADE)
def test_labels_come_in_the_order_of_their_oldest_jobs(made):
    begun = {label: min(when for other, when in made if other == label) for label, _ in made}
    assert labels_in_order(made) == sorted(begun, key=lambda label: (begun[label], label), reverse=True)


def pod(name="hello-mine-x"):
    labels = {"batch.kubernetes.io/job-name": "hello-mine"}
    made = {"name": name, "namespace": SPACE, "labels": labels, "creationTimestamp": "2026-01-02T03:04:06Z"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": {}, "status": {"phase": "Running"}}


def test_a_runs_page_shows_what_it_has_written_as_text(site):
    put(site, job(status={"ready": 1}), pod())
    site.clusters.memory.said["hello-mine-x"] = "<script>alert(1)</script>\n\x1b[31mred\n" * 3
    text = site.browser.get(f"/runs/{stack_label(STACK)}").text
    assert "<strong>running</strong>" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>" not in text.replace('<script src="/static/portal.js" defer></script>', "")
    assert 'data-refresh="2"' in text


def test_a_session_that_runs_is_linked_to_where_the_sites_settings_say(site):
    login = {"name": "login", "image": "x"}
    session = job(status={"ready": 1}, annotations={"primage.eu/opens": "@evil.example.org/"})
    session["spec"]["template"] = {"spec": {"initContainers": [login], "containers": []}}
    put(site, session, pod())
    page = f"/runs/{stack_label(STACK)}"
    assert f'href="https://{SPACE}.sessions.example.org/hello-mine/"' in site.browser.get(page).text
    session["metadata"]["annotations"] = {"primage.eu/opens": ":8888/hello-mine/lab/tree/HOME"}
    put(site, session, pod())
    assert f'href="https://{SPACE}.sessions.example.org/hello-mine/lab/tree/HOME"' in site.browser.get(page).text
    session["metadata"]["annotations"] = {"primage.eu/opens": ":8888/another/of/theirs"}
    put(site, session, pod())
    assert f'href="https://{SPACE}.sessions.example.org/hello-mine/"' in site.browser.get(page).text
    for change in ({"status": {}}, {"spec": {"completions": 1}}):
        put(site, {**session, **change})
        assert "sessions.example.org" not in site.browser.get(page).text


def test_a_run_that_has_ended_is_not_asked_for_again(site):
    put(site, job(status={"conditions": [{"type": "Complete", "status": "True"}]}), pod())
    assert "data-refresh" not in site.browser.get(f"/runs/{stack_label(STACK)}").text
    assert "data-refresh" not in site.browser.get("/runs").text


def test_stopping_takes_away_the_members_own_stack_and_nobody_elses(site):
    put(site, job())
    label = stack_label(STACK)
    assert site.browser.post(f"/runs/{label}/stop", data={"csrf": "guessed"}).status_code == 403
    answer = site.browser.post(f"/runs/{label}/stop", data={"csrf": site.csrf()}, follow_redirects=False)
    assert answer.headers["location"] == "/runs"
    (launch,) = site.portal.launches.all_of(ACCOUNT)
    assert (launch.work.stack, launch.work.settings) == (STACK, None)
    theirs = f"batch/eve-at-example-dot-org_{VO}.local--mine"
    put(site, job("evil-mine", theirs))
    for other in (stack_label(theirs), "nothing", "..", "a/b"):
        assert site.browser.post(f"/runs/{other}/stop", data={"csrf": site.csrf()}).status_code in (404, 405, 422)
    assert len(site.portal.launches.all_of(ACCOUNT)) == 1


def test_a_start_that_has_failed_says_why_and_can_be_made_again(site):
    site.portal.launches.end = Ended(ok=False, what="its quota is <used up>", todo="stop something")
    site.portal.launches.begin(ACCOUNT, Work(stack=STACK, setting="job", settings={"name": "again", "image": "x"}), "")
    label = stack_label(STACK)
    until("it has ended", lambda: site.portal.launches.of(ACCOUNT, label).ended)
    text = site.browser.get(f"/runs/{label}").text
    assert "its quota is &lt;used up&gt;" in text
    assert f'href="/apps/{VO}/batch?again={label}"' in text
    assert 'value="again"' in site.browser.get(f"/apps/{VO}/batch?again={label}").text
    site.log_in(sub="account-2", preferred_username="eve@example.org")
    assert site.browser.get(f"/runs/{label}").status_code == 404, "it is nobody else's to see"
    assert 'value="again"' not in site.browser.get(f"/apps/{VO}/batch?again={label}").text


def test_who_may_not_see_members_is_told_so_and_who_may_sees_them(site):
    def member(name, **status):
        made = {"name": name, "namespace": "vo-dot-primage-dot-eu"}
        spec = {"identity": f"{name}@example.org", "roles": ["researcher"]}
        return {"apiVersion": "primage.eu/v1", "kind": "Member", "metadata": made, "spec": spec, "status": status}

    put(site, member("bob", phase="Ready"), member("eve", phase="Refused", problem="<b>nobody</b>"))
    assert 'href="/members"' not in site.browser.get("/").text
    site.log_in(groups=[f"/{VO}/admin"])
    text = site.browser.get("/members").text
    assert 'href="/members"' in text
    assert text.index("bob@example.org") < text.index("eve@example.org")
    assert "&lt;b&gt;nobody" in text
    site.clusters.memory.forbidden.add("Member")
    assert "You may not see who is in this VO" in site.browser.get("/members").text


def test_times_are_for_people_and_nonsense_is_none():
    assert when("2026-01-02T03:04:05Z") == "2026-01-02 03:04 UTC"
    assert when("<yesterday>") == "?"


def test_nobody_has_more_than_a_few_requests_answered_at_a_time(site):
    turns = site.portal.turns
    turns._patience_s = 0.05
    with turns.one(ACCOUNT), turns.one(ACCOUNT):
        assert site.browser.get("/runs").status_code == 429
        assert site.browser.get("/").status_code == 429
        with ExitStack() as others:
            for number in range(6):
                others.enter_context(turns.one(str(number // 2)))
            with pytest.raises(RefusedError), turns.one("another"):
                pytest.fail("everybody together has enough")
    for _ in range(5):
        assert site.browser.get("/runs").status_code == 200
    assert not turns._running
    assert not turns._waiting


def test_who_waits_for_a_turn_gets_it_and_few_wait():
    turns, got, begun = Turns(patience_s=60), [], threading.Barrier(5)

    def ask():
        begun.wait(30)
        with turns.one(ACCOUNT):
            got.append(1)

    waiting = [threading.Thread(target=ask) for _ in range(4)]
    with turns.one(ACCOUNT), turns.one(ACCOUNT):
        for one in waiting:
            one.start()
        begun.wait(30)
        until("four wait", lambda: turns._waiting[ACCOUNT] == 4)
        with pytest.raises(RefusedError), turns.one(ACCOUNT):
            pytest.fail("enough of theirs wait")
        assert got == []
    for one in waiting:
        one.join(30)
    assert len(got) == 4


# -- processes -------------------------------------------------------------------------------------------------------


WORK = Work(stack=STACK, setting="job", settings={"name": "x", "image": "x"})


@pytest.fixture
def launches(monkeypatch, repository):
    services = str(repository / "services/portal")
    monkeypatch.setenv("PYTHONPATH", f"{services}:{repository}")
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(repository))
    return Launches


def kubeconfig(server):
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "the-token-itself"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        },
        indent=1,
    )


def children():
    """Processes of this one that launch, with what they can be seen to have been given."""
    found = {}
    for line in os.popen("ps -o pid=,args= --ppid " + str(os.getpid())):
        pid, _, args = line.strip().partition(" ")
        if "portal.launcher" in args:
            with suppress(OSError):  # it has ended since
                found[int(pid)] = (args, Path(f"/proc/{pid}/environ").read_text())
    return found


@pytest.fixture
def silent_server():
    """Takes connections, and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_launch_is_a_process_of_its_own_that_shows_no_token_and_is_bounded_and_ends_in_time(launches, silent_server):
    several = launches(longest_s=6)
    first = several.begin(ACCOUNT, WORK, kubeconfig(silent_server))
    ((pid, (args, environment)),) = until("it runs", children).items()
    assert pid != os.getpid()
    assert "the-token-itself" not in args + environment
    with pytest.raises(RefusedError, match="something else being started"):
        several.begin(ACCOUNT, WORK, "")
    for number in range(AT_ONCE - 1):
        several.begin(f"{number}@example.org", WORK, kubeconfig(silent_server))
    with pytest.raises(RefusedError, match="others are starting"):
        several.begin("late@example.org", WORK, "")
    until("its time is over", lambda: first.ended)
    assert "not all started within 6 s" in first.ended.what
    until("the others' too", lambda: not children())


def test_a_launch_that_is_killed_or_refused_says_so(launches, silent_server):
    several = launches()
    killed = several.begin(ACCOUNT, WORK, kubeconfig(silent_server))
    (pid,) = until("it runs", children)
    os.kill(pid, signal.SIGKILL)
    until("it has ended", lambda: killed.ended)
    assert "has failed (status -9)" in killed.ended.what
    nowhere = WORK.model_copy(update={"stack": WORK.stack.replace("batch", "nowhere")})
    refused = several.begin(ACCOUNT, nowhere, kubeconfig(silent_server))
    until("it is refused", lambda: refused.ended)
    assert "there is no app 'nowhere'" in refused.ended.what
