"""The scaler's way to the API server: one Job, one field, within bounds, whatever it is answered."""

import contextlib
import http.server
import json
import ssl
import threading

import pytest

from htc_queue.__main__ import main
from htc_queue.clients import Queue
from htc_queue.clients.kubernetes_job import MOST_BYTES, ApiError, Job
from htc_queue.domain import MOST_CONSUMERS, QueueError, Scaling, Standing
from htc_queue.scaler import scale
from primage.components.queues.queue_credentials import make_credentials

JOB = {"metadata": {}, "spec": {"parallelism": 2}, "status": {}}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An API server that answers as it is told, and remembers what it was asked."""
    made = make_credentials(["localhost"])
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (tmp_path / name).write_text(made[name])
    (tmp_path / "token").write_text("a-token")
    (tmp_path / "namespace").write_text("a-space")

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.server.asked.append((self.command, self.path, body))
            answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
            self.send_response(self.server.status)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def do_PATCH(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    found = http.server.ThreadingHTTPServer(("localhost", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    found.socket = context.wrap_socket(found.socket, server_side=True)
    found.asked, found.answers, found.status, found.account = [], [JOB], 200, tmp_path
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(found.server_address[1]))
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


PATH = "/apis/batch/v1/namespaces/a-space/jobs/words-consumers?fieldManager=primage-queue"


def test_one_field_of_one_job_is_written(server):
    job = Job("words-consumers", server.account)
    assert job.parallelism() == 2
    job.scale(5)
    assert server.asked == [("GET", PATH, b""), ("PATCH", PATH, b'{"spec": {"parallelism": 5}}')]


@pytest.mark.parametrize("name", ["", "../secrets/x", "a/b", "a%2fb", "A", "a?b", "a" * 254, "a\n"])
def test_what_is_no_name_of_a_job_is_refused(server, name):
    with pytest.raises(QueueError, match="is not the name"):
        Job(name, server.account)


@pytest.mark.parametrize("number", [-1, MOST_CONSUMERS + 1])
def test_a_number_out_of_bounds_is_not_asked_for(server, number):
    with pytest.raises(ApiError, match="are not from 0 to"):
        Job("words-consumers", server.account).scale(number)
    assert server.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no JSON",
        [],
        {},
        {"metadata": {}},
        {**JOB, "spec": {"parallelism": "many"}},
        {**JOB, "status": []},
        {**JOB, "status": {"conditions": [1]}},
        b"[" * 100_000,
        b'{"a": "' + b"x" * MOST_BYTES + b'"}',
    ],
    ids=range(10),
)
def test_an_answer_that_is_no_job_is_an_error_and_nothing_more(server, answer):
    server.answers = [answer]
    with pytest.raises(ApiError, match="answer"):
        Job("words-consumers", server.account).parallelism()


def test_a_scaler_goes_on_after_every_error(server, monkeypatch, capfd):
    """Of the API server, of the queue and of the account's folder; and it never asks for more than it may."""
    monkeypatch.setattr("htc_queue.scaler.LOOK_S", 0.01)
    server.answers = [b"nonsense", [], JOB]
    enough = threading.Event()

    class Hostile:
        looks = 0

        def standing(self):
            self.looks += 1
            if self.looks == 2:
                raise QueueError("\x1b[2J")
            if any(command == "PATCH" for command, *_ in server.asked):
                enough.set()
            return Standing(0, 0, 0, 10**15, 10**15, False, 0.0, 10**15)

    scale(Hostile(), Job("words-consumers", server.account), Scaling(0, 7), enough)
    patches = [json.loads(body) for command, _, body in server.asked if command == "PATCH"]
    assert patches[0] == {"spec": {"parallelism": 7}}
    assert "\x1b" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--most", "1001"],
        ["--most", "-1"],
        ["--most", "\u0663"],
        ["--most", "2", "--each", "0"],
        ["--most", "2", "--calm", "inf"],
        ["--most", "2", "--calm", "nan"],
    ],
)
def test_bounds_that_are_none_are_refused(options, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["scale", "--job", "a", *options])
    assert caught.value.code == 2
    assert "error: argument" in capsys.readouterr().err


def test_fewest_that_are_more_than_most_are_refused(capfd):
    assert main(["scale", "--job", "a", "--least", "3", "--most", "2"]) == 1
    assert "--least 3 is more than --most 2" in capfd.readouterr().err


# -- a server that cannot be reached yet -------------------------------------------------------------------------------


def test_a_name_that_is_not_known_yet_is_asked_for_again_for_a_bounded_time(monkeypatch, capfd):
    """As a pod's first look-up is, while its network is being made."""
    import socket

    from redis.exceptions import ConnectionError as RedisConnectionError

    monkeypatch.setattr("htc_queue.clients.redis_queue.WAIT_S", 0.5)
    asked = []

    def unknown(*_):
        asked.append(1)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(RedisConnectionError, match="name resolution"):
        Queue("redis://queue.space.svc:6379").open()
    assert len(asked) > 2
    said = capfd.readouterr().err
    assert said.count("waiting for the queue at redis://queue.space.svc:6379") == 1
    assert "Temporary failure in name resolution" in said


def test_what_is_hasty_does_not_ask_again(monkeypatch):
    import socket

    from redis.exceptions import ConnectionError as RedisConnectionError

    asked = []

    def unknown(*_):
        asked.append(1)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(RedisConnectionError):
        Queue("redis://queue.space.svc:6379").hasty(0.5).keep("me", [])
    assert len(asked) == 1
