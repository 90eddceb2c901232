"""The queue's own rules, with no Redis: what fits a command line, when tries end, what a queue's numbers mean."""

import hashlib
import ssl
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from htc_queue import __main__ as cli
from htc_queue.domain import (
    MOST_BYTES,
    Lease,
    Patience,
    QueueError,
    Scaling,
    Standing,
    UnfitError,
    command_line,
    digest,
    file_name,
    printable,
    require_fit,
)
from primage.components.queues import htc_application
from primage.components.queues.htc_settings import HtcSettings
from primage.components.queues.queue_credentials import make_credentials

plain = st.binary(min_size=1, max_size=200).filter(lambda data: b"\0" not in data)


@given(plain)
def test_an_argument_arrives_unchanged_whatever_is_in_it(argument):
    assert command_line(["run", "it"], [argument]) == [b"run", b"it", argument]
    assert command_line(["run", "{}", "-v"], [argument]) == [b"run", argument, b"-v"]
    assert command_line(["run", "--in={}"], [argument]) == [b"run", b"--in=" + argument]


@given(st.lists(plain, min_size=2, max_size=5))
def test_a_batch_takes_the_place_of_the_braces(arguments):
    assert command_line(["run", "{}", "end"], arguments) == [b"run", *arguments, b"end"]
    assert command_line(["run"], arguments) == [b"run", *arguments]


@pytest.mark.parametrize("argument", [b"a\0b", b"x" * 131_072])
def test_what_no_command_line_can_have_is_refused_with_the_way_out(argument):
    with pytest.raises(UnfitError, match="--stdin"):
        command_line(["run"], [argument])


def test_the_longest_argument_is_the_longest():
    assert require_fit(b"x" * MOST_BYTES)
    with pytest.raises(QueueError, match="push the file's path"):
        require_fit(b"x" * (MOST_BYTES + 1))
    with pytest.raises(QueueError, match="empty"):
        require_fit(b"")


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_only_equal_arguments_have_equal_names(one, other):
    assert (digest(one) == digest(other)) == (one == other)


@given(st.integers(1, 60), st.floats(2, 3600))
def test_pauses_grow_and_end(tries, visibility):
    patience = Patience(visibility, 100)
    assert 0 < patience.pause_s(tries) <= min(60, visibility)
    assert patience.pause_s(tries + 1) >= patience.pause_s(tries)


@given(st.text())
def test_what_is_printed_is_one_line_and_obeyed_by_no_terminal(text):
    shown = printable(text)
    assert not any(unicodedata.category(letter)[0] == "C" or letter in "\u2028\u2029" for letter in shown)
    assert printable(shown) == shown
    assert not text.isprintable() or shown == text


counts = st.integers(0, 1000)


@given(counts, counts, counts, counts, st.booleans())
def test_every_argument_is_in_one_place(done, dead, running, waiting, closed):
    standing = Standing(done + dead + running + waiting, done, dead, running + waiting, running, closed, 2.0, 1)
    assert standing.waiting == waiting
    assert standing.finished == (closed and not running and not waiting)
    assert standing.eta_s == pytest.approx((running + waiting) / 2)


def test_a_queue_that_does_not_move_has_no_end_in_sight():
    assert Standing(5, 0, 0, 5, 1, False, 0.0, 1).eta_s is None


@given(counts, counts, st.booleans(), st.integers(0, 5), st.integers(0, 20), st.integers(1, 10))
def test_the_needed_consumers_are_within_bounds_and_enough(running, waiting, closed, least, more, each):
    scaling, standing = (
        Scaling(least, least + more + 1, each),
        Standing(0, 0, 0, running + waiting, running, closed, 0.0, min(running, 3)),
    )
    needed = scaling.needed(standing)
    assert least <= needed <= scaling.most
    assert needed == scaling.most or needed * each >= running + waiting
    assert needed == scaling.most or needed >= standing.consumers, "somebody who has work would be sent away"
    assert needed or not closed, "nobody would see the end"


def test_there_are_more_consumers_at_once_and_fewer_after_a_calm():
    scaling = Scaling(least=1, most=8, each=2, calm_s=30)
    lengths = [(0, 4), (2, 16), (4, 0), (20, 6), (33, 0), (49, 0), (51, 0)]
    wanted = [scaling.wanted(Standing(waiting, 0, 0, waiting, 0, False, 0.0, 0), at) for at, waiting in lengths]
    assert wanted == [2, 8, 8, 8, 3, 3, 1]


def test_credentials_are_new_each_time_and_the_access_list_does_not_hold_the_password():
    one, other = make_credentials(["q.ns.svc", "localhost"]), make_credentials(["q.ns.svc"])
    assert one["password"] != other["password"]
    assert len(one["password"]) >= 40
    assert one["password"] not in one["users.acl"]
    assert f"#{hashlib.sha256(one['password'].encode()).hexdigest()} " in one["users.acl"]
    assert "user default off" in one["users.acl"]


def test_the_certificate_is_for_the_queue_alone(tmp_path):
    """OpenSSL itself shakes hands over a pair of memory buffers."""
    made = make_credentials(["q.ns.svc", "localhost"])
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text(made[name])
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")

    def shake(host, authority):
        client_side = ssl.create_default_context(cadata=authority)
        a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_side.wrap_bio(a, b, server_hostname=host)
        server = server_side.wrap_bio(b, a, server_side=True)
        for _ in range(4):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue

    shake("q.ns.svc", made["ca.crt"])
    with pytest.raises(ssl.SSLCertVerificationError):
        shake("other.ns.svc", made["ca.crt"])
    with pytest.raises(ssl.SSLCertVerificationError):
        shake("q.ns.svc", make_credentials(["q.ns.svc"])["ca.crt"])


GOOD = {"name": "a", "producer": {"arguments": ["x"]}, "consumer": {"image": "i", "command": ["true"]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"producer": {}}, "give one of arguments, files and command, not none"),
        ({"producer": {"arguments": ["x"], "files": "a/*"}}, "not arguments and files"),
        ({"consumer": {"image": "i"}}, "give either command or call"),
        ({"consumer": {"image": "i", "command": ["true"], "call": "m:f"}}, "give either command or call"),
        ({"consumer": {"image": "i", "command": ["true"], "output": "o-{key}", "batch": 2}}, "one file per argument"),
        ({"consumer": {"image": "i", "call": "not a function"}}, "must be a Python function, such as"),
        ({"consumer": {"image": "i", "command": ["true"], "env": {"PRIMAGE_QUEUE": "x"}}}, "PRIMAGE_QUEUE is set by the platform"),
        ({"parallelism": 0}, "0 consumers would stay 0"),
        ({"parallelism": 5, "scaling": {"maximum": 4}}, "5 is not between scaling's 1 and 4"),
        ({"colour": "blue"}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused(change, words):
    assert HtcSettings.model_validate(GOOD)
    with pytest.raises(ValidationError, match=words):
        HtcSettings.model_validate({**GOOD, **change})


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        (b"alveola", "alveola"),
        (b"p-001.csv", "p-001.csv"),
        (b"/primage/HOME/private/study/p-001.csv", "p-001.csv--"),
        (b"a b/c d/", "c-d--"),
        (b"x--y", "x-y--"),
        (b"..", "x--"),
        (b".hidden", "hidden--"),
        (b"-n", "n--"),
        (b"\xff\xfe", "x--"),
        (b"y" * 101, "y" * 60 + "--"),
        ("Lunge links ü".encode(), "Lunge-links--"),
    ],
)
def test_a_results_name_can_be_read(argument, name):
    found = file_name(argument)
    assert found == name or (found.startswith(name) and name.endswith("--") and len(found) == len(name) + 16)


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=2, max_size=20, unique=True))
def test_no_two_arguments_have_one_name_and_each_is_one_files(arguments):
    names = [file_name(argument) for argument in arguments]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.isascii()
        assert not set(name) & set("/\0\n ")
        assert not name.startswith((".", "-"))
        assert len(name) <= 100


def test_an_argument_in_a_sentence_is_short_and_printable():
    assert Lease("1-0", b"carina", 1).shown == "carina"
    shown = Lease("1-0", b"\x1b[2J" + b"x" * 1000, 1).shown
    assert shown.startswith("\\x1b[2J")
    assert len(shown) < 300


def test_an_output_says_only_what_it_can_say():
    consumer = {"image": "i", "command": ["c"]}
    settings = {"name": "w", "producer": {"arguments": ["a"]}}
    HtcSettings.model_validate({**settings, "consumer": {**consumer, "output": "w/{index}-{key}.txt"}})
    with pytest.raises(ValidationError, match="stands for nothing"):
        HtcSettings.model_validate({**settings, "consumer": {**consumer, "output": "w/{name}.txt"}})


def test_what_a_consumers_exit_status_means_is_the_same_on_both_sides():
    assert (cli.DEAD, cli.STOPPED) == (htc_application.FINISHED_WITH_DEAD_LETTERS, htc_application.STOPPED)
