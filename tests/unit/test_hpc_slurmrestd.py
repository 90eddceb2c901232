"""The transport by slurmrestd, with answers and files that mean harm: real SFTP, and HTTP that never leaves the process."""

import asyncio
import json
import os

import httpx2
import pytest
from home_server import LocalHome
from hpc_centre import Centre

from hpc_connector.clients import slurmrestd
from hpc_connector.clients.credentials import Credentials
from hpc_connector.clients.rest_transport import RestTransport
from hpc_connector.clients.shares import Shares
from hpc_connector.clients.slurmrestd import Slurmrestd
from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.domain.request import Request
from hpc_connector.domain.seen import Seen
from hpc_connector.domain.submission import comment
from primage.contract.hpc import Backend

UID = "9b2e8b1c-0000-4000-8000-000000000001"
OTHER = "9b2e8b1c-0000-4000-8000-000000000002"
THIRD = "9b2e8b1c-0000-4000-8000-000000000003"


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    found = Centre(tmp_path_factory.mktemp("hpc")).start()
    yield found
    found.stop()


@pytest.fixture
def ask(centre):
    """Run something with an account there, to whose questions `answer` answers."""

    def run(do, answer=lambda _: answered({"jobs": []})):
        described = {key: value for key, value in centre.backend().items() if key != "name"}
        account = RestTransport(
            Backend("hpc", **{**described, "slurmrestd": "https://rest"}),
            "owner",
            lambda: Credentials.of(centre.secret()),
            Shares(),
        )
        account._slurm._client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))

        async def whole():
            try:
                return await asyncio.wait_for(do(account), 30)
            finally:
                await account.close()

        return asyncio.run(whole())

    return run


def answered(content, status=200, **more):
    """An answer that comes by and by, as from a server."""

    async def parts():
        yield content if isinstance(content, bytes) else json.dumps(content).encode()

    return httpx2.Response(status, content=parts(), **more)


def request(**more):
    return Request(UID, "job", "hpc", "true", **more)


def queued(number, uid, **more):
    return {
        "job_id": number,
        "job_state": "RUNNING",
        "state_reason": "None",
        "comment": comment("owner", uid, 1),
        "user_name": "account",
        **more,
    }


@pytest.mark.parametrize("text", ["--5", "²", "9" * 5000, "256", "x" * 100_000, "\0\xff"])
def test_a_result_that_is_none_is_seen_as_such_and_others_as_they_are(centre, ask, text):
    for uid, said in ((UID, text), (OTHER, "3\n")):
        (centre.work(uid) / "1").mkdir(parents=True, exist_ok=True)
        (centre.work(uid) / "1/result").write_text(said)
    found = ask(lambda account: account.look({(UID, 1): "", (OTHER, 1): ""}))
    assert found == {(UID, 1): Seen(unfit=True), (OTHER, 1): Seen(code=3)}


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_is_no_file_is_not_opened(centre, ask, tmp_path, kind):
    at = centre.work(UID) / "1"
    at.mkdir(parents=True, exist_ok=True)
    make = {
        "pipe": lambda path: os.mkfifo(path),
        "folder": lambda path: path.mkdir(),
        "link": lambda path: path.symlink_to("/dev/zero"),
    }
    for name in ("result", "output", "number"):
        (at / name).unlink(missing_ok=True)
        make[kind](at / name)

    async def do(account):
        seen = await account.look({(UID, 1): ""})
        copied = await account.output(UID, 1, 0, LocalHome(tmp_path), "log", 0, 100)
        await account.forget(UID)
        return seen[UID, 1], copied

    assert ask(do) == (Seen(unfit=True), 0)
    assert not centre.work(UID).exists()


def test_a_job_of_slurms_that_is_odd_hides_no_other(ask):
    jobs = [{"job_id": "x"}, queued(0, UID), queued(1, UID, job_state=5), queued(2, OTHER), {"comment": ["x"]}, 7, None]
    found = ask(lambda account: account.look({}), lambda _: answered({"jobs": jobs}))
    assert found == {(OTHER, 1): Seen("2", "RUNNING", "None")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * 5000, "not its own"),
        (b"[" * 5000, "not its own"),
        (b'{"jobs": 7}', "not its own"),
        (b"", "not its own"),
        (b"[]", "not its own"),
    ],
)
def test_an_answer_that_is_none_or_has_no_end_is_something_to_wait_for(ask, monkeypatch, content, words):
    monkeypatch.setattr(slurmrestd, "JSON_BYTES", 4096)
    with pytest.raises(UnavailableError, match=words):
        ask(lambda account: account.look({}), lambda _: answered(content))


def test_no_more_of_an_answer_is_read_than_its_limit(ask, monkeypatch):
    monkeypatch.setattr(slurmrestd, "JSON_BYTES", 4096)
    sent = []

    async def endless():
        while len(sent) < 1000:
            sent.append(1)
            yield b" " * 1024

    with pytest.raises(UnavailableError, match="longer than 4096"):
        ask(lambda account: account.look({}), lambda _: httpx2.Response(200, content=endless()))
    assert len(sent) <= 6


def test_a_token_follows_no_redirection(centre, ask):
    asked = []

    def answer(question):
        asked.append(question.url.host)
        return answered({}, 307, headers={"Location": "https://theirs/"})

    with pytest.raises(UnavailableError):
        ask(lambda account: account.look({}), answer)
    assert asked == ["rest"]
    daemon = Slurmrestd("https://rest", lambda: Credentials.of({**centre.secret(), "slurm-token": b"a.b.c"}), Shares())
    assert (daemon._http().follow_redirects, daemon._http().trust_env) == (False, False)


def test_outputs_that_are_not_in_what_was_named_are_not_brought(centre, ask, tmp_path):
    work = centre.work(UID)
    work.mkdir(parents=True, exist_ok=True)
    for path in ("../../escape", "/etc/hostname", "other", "made/../other", "made//x", "./made/x"):
        (work / "sums").write_text(f"{'0' * 64}  {path}\0")
        with pytest.raises(RefusedError, match="in none of the outputs"):
            ask(lambda account: account.fetch(request(outputs=("made",)), LocalHome(tmp_path)))
    for text in ("none\0", f"{'x' * 64}  made/x\0", f"{'0' * 64}  \0"):
        (work / "sums").write_text(text)
        with pytest.raises(RefusedError, match="a line that is none"):
            ask(lambda account: account.fetch(request(outputs=("made",)), LocalHome(tmp_path)))
    (work / "sums").unlink()
    with pytest.raises(RefusedError, match="left no list"):
        ask(lambda account: account.fetch(request(outputs=("made",)), LocalHome(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_goes_on_changing_ends_its_job_and_not_the_connectors_patience(centre, ask, tmp_path):
    made = centre.work(UID) / "mount/HOME/private/made"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text("something else by now")
    (centre.work(UID) / "sums").write_text(f"{'0' * 64}  made\0")
    with pytest.raises(RefusedError, match="something changes it"):
        ask(lambda account: account.fetch(request(outputs=("made",)), LocalHome(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_cancelling_says_whether_there_was_anything(centre, ask):
    gone = [queued(1, THIRD), queued(2, OTHER)]

    def answer(question):
        if question.method == "DELETE":
            gone[:] = [job for job in gone if str(job["job_id"]) != question.url.path.rsplit("/", 1)[1]]
        return answered({"jobs": gone})

    assert ask(lambda account: account.cancel(THIRD), answer) is True
    assert [job["job_id"] for job in gone] == [2]
    assert ask(lambda account: account.cancel(THIRD), answer) is False
    centre.work(THIRD).mkdir(parents=True, exist_ok=True)
    assert ask(lambda account: account.cancel(THIRD), answer) is True


def test_a_number_is_what_slurmrestd_says_or_nothing(ask):
    answers = [{"jobs": []}, {"job_id": None}]
    with pytest.raises(UnavailableError, match="does not say its number"):
        ask(
            lambda account: account.submit(request(), 1),
            lambda _: answered(answers.pop(0)),
        )
