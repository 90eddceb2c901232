"""Why a server could not be reached, from servers that fail in each of these ways."""

import http.client
import socket
import threading
from contextlib import contextmanager

import pytest
import urllib3
from websocket import create_connection

from primage.clients.unreachable import in_words


@contextmanager
def server(answer):
    """A server on loopback that does `answer` with one connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(30)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def get(url, **more):
    urllib3.PoolManager().request("GET", url, retries=False, timeout=5, **more)


def get_again(url):
    urllib3.PoolManager().request("GET", url, retries=1, timeout=5)


def plainly(url):
    address = url.partition("://")[2].strip("/")
    connection = http.client.HTTPConnection(address, timeout=5)
    connection.request("GET", "/")
    connection.getresponse()


def by_websocket(url):
    create_connection(url.replace("http", "ws"), timeout=5)


def said(ask, url):
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each library has exceptions of its own
        ask(url)
    return in_words(caught.value)


@pytest.mark.parametrize("ask", [get, get_again, plainly, by_websocket])
def test_a_closed_port(ask):
    assert said(ask, f"http://127.0.0.1:{closed_port()}/") == "connection refused"


@pytest.mark.parametrize("ask", [get, plainly, by_websocket])
def test_a_server_that_hangs_up(ask):
    with server(lambda _: None) as port:
        assert said(ask, f"http://127.0.0.1:{port}/") == "the connection broke"


def test_a_server_that_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(urllib3.exceptions.HTTPError) as caught:
            urllib3.PoolManager().request("GET", url, retries=False, timeout=0.1)
    assert in_words(caught.value) == "it did not answer in time"


def test_a_server_that_speaks_no_tls():
    with server(lambda connection: connection.sendall(b"HTTP/1.1 400 no\r\n\r\n")) as port:
        assert said(get, f"https://127.0.0.1:{port}/") == "TLS failed: wrong version number"


@pytest.mark.parametrize("ask", [get, get_again, plainly, by_websocket])
def test_a_name_that_nobody_knows(ask):
    assert said(ask, "http://nowhere.invalid/") == "its name cannot be looked up"


def test_a_web_socket_that_is_refused():
    with server(lambda connection: connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")) as port:
        assert said(by_websocket, f"http://127.0.0.1:{port}/") == "it answers with HTTP 403"


def test_what_nobody_foresaw_keeps_its_own_words():
    assert in_words(RuntimeError("odd")) == "RuntimeError: odd"
