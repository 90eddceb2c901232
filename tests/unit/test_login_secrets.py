"""Certificates are made again in time, and passwords are nobody's choice."""

import base64
from datetime import timedelta

import pytest

from primage.components import certificates, generated_secret
from primage.components.certificates import RENEWED_DAYS, new_authority
from primage.components.login_secrets import LoginSecretsProvider, ServerCertificateProvider
from primage.errors import PrimageError

HOSTS = ["10.1.2.3"]


class Server:
    """One Secret."""

    def __init__(self, data):
        self.data = data

    def get(self, _ref):
        return {"data": {key: base64.b64encode(text.encode()).decode() for key, text in self.data.items()}}


@pytest.fixture
def changes(monkeypatch):
    """What a preview says of a Secret with that content."""

    def preview(data):
        monkeypatch.setattr(generated_secret, "_reach", lambda _: Server(data))
        given = {"kubeconfig": "k", "context": "", "namespace": "n", "secret": "s", "hosts": HOSTS, "authority": "/a", "labels": {}}
        return ServerCertificateProvider().diff("n/s", given, given).replaces

    return preview


def test_a_certificate_is_made_again_before_it_ends(changes, monkeypatch):
    assert changes(new_authority("here").issue(HOSTS)) == []
    monkeypatch.setattr(certificates, "DAYS", RENEWED_DAYS + 1)
    assert changes(new_authority("here").issue(HOSTS)) == []
    monkeypatch.setattr(certificates, "DAYS", RENEWED_DAYS - 1)
    assert changes(new_authority("here").issue(HOSTS)) == ["secret"]


def test_a_secret_without_a_certificate_is_made_again(changes):
    assert changes({"other": "x"}) == ["secret"]


def test_an_authority_outlives_what_it_issues(tmp_path):
    from cryptography import x509

    made = new_authority("here").issue(HOSTS)
    ends = [x509.load_pem_x509_certificate(made[name].encode()).not_valid_after_utc for name in ("ca.crt", "tls.crt")]
    assert ends[0] - ends[1] > timedelta(days=2000)


def test_an_authority_that_is_not_there_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(PrimageError, match="cannot be read") as missing:
        ServerCertificateProvider().make({"authority": str(tmp_path), "hosts": HOSTS})
    assert str(tmp_path) in str(missing.value)


def test_passwords_cannot_be_guessed_and_are_never_the_same():
    made = [LoginSecretsProvider().make({"keys": ["a", "b"]}) for _ in range(20)]
    texts = {text for one in made for text in one.values()}
    assert len(texts) == 40
    assert all(len(text) >= 43 and "'" not in text for text in texts)
