import json

from primage.engine.embedded.objects import differences, dotted, masked
from primage.engine.ownership import managed_by

SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"password": "aHVudGVyMg=="}}


def test_field_by_field():
    before = {"kind": "Job", "metadata": {"name": "a", "uid": "1"}, "spec": {"x": [{"image": "a"}], "n": 1}, "status": {"x": 1}}
    after = {"kind": "Job", "metadata": {"name": "a", "uid": "2"}, "spec": {"x": [{"image": "b"}], "m": 2}, "status": {}}
    found = {change.path: (change.before, change.after) for change in differences(before, after)}
    assert found == {"spec.x[0].image": ("a", "b"), "spec.n": (1, None), "spec.m": (None, 2)}


def test_secrets_are_never_shown():
    other = {**SECRET, "data": {"password": "b3RoZXI="}}
    assert "aHVudGVyMg" not in json.dumps(masked(SECRET, frozenset()))
    (change,) = differences(SECRET, other)
    assert (change.path, change.before, change.after) == ("data.password", "[secret]", "[secret]")


def test_values_marked_secret_by_the_program_are_masked_anywhere():
    obj = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "open", "b": "hidden"}}
    assert masked(obj, frozenset({("data", "b")}))["data"] == {"a": "open", "b": "[secret]"}


def test_keys_with_dots_are_quoted():
    assert dotted(("metadata", "labels", "primage.eu/vo")) == 'metadata.labels["primage.eu/vo"]'


def test_own_objects_are_known_by_their_manager():
    obj = {"metadata": {"managedFields": [{"manager": "primage:primage/local"}]}}
    assert managed_by(obj, "primage:primage/local")
    assert not managed_by(obj, "kubectl")
