import json

from primage.engine.embedded.objects import declared_differences, differences, dotted, masked
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


MANAGER = "primage:primage-batch/x"


def standing_job():
    """A job as the server has it: with what it filled in, in its own spelling."""
    container = {
        "name": "job",
        "image": "a:1",
        "args": ["one", "1"],
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "command": ["sh"],
        "resources": {"limits": {"cpu": "500m"}},
    }
    item = {".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:command": {}, "f:resources": {}}
    applied = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"job"}': item}}}, "f:suspend": {}}}
    return {
        "kind": "Job",
        "metadata": {"name": "j", "managedFields": [{"manager": MANAGER, "operation": "Apply", "fieldsV1": applied}]},
        "spec": {
            "completions": 1,
            "suspend": False,
            "selector": {"matchLabels": {"x": "y"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"dnsPolicy": "ClusterFirst", "containers": [container]},
            },
        },
    }


def declared_job(**container):
    made = {"name": "job", "image": "a:1", "args": ["one", "1"], "command": ["sh"], "resources": {"limits": {"cpu": "0.5"}}}
    spec = {"suspend": False, "template": {"spec": {"containers": [{**made, **container}]}}}
    return {"kind": "Job", "metadata": {"name": "j"}, "spec": spec}


def test_what_the_server_filled_in_is_no_difference():
    assert declared_differences(standing_job(), declared_job(), MANAGER) == ()


def test_of_a_replaced_object_only_what_changed_is_named():
    (change,) = declared_differences(standing_job(), declared_job(args=["two", "1"]), MANAGER)
    assert (change.path, change.before, change.after) == ("spec.template.spec.containers[0].args[0]", "one", "two")
    (change,) = declared_differences(standing_job(), declared_job(args=["one", "1.0"]), MANAGER)
    assert change.after == "1.0", "an argument is no amount"
    (change,) = declared_differences(standing_job(), declared_job(resources={"limits": {"cpu": "1"}}), MANAGER)
    assert (change.before, change.after) == ("500m", "1")


def test_a_field_that_was_applied_and_is_declared_no_longer_is_a_difference():
    declared = declared_job()
    del declared["spec"]["template"]["spec"]["containers"][0]["command"], declared["spec"]["suspend"]
    found = {change.path: change.after for change in declared_differences(standing_job(), declared, MANAGER)}
    assert found == {"spec.suspend": None, "spec.template.spec.containers[0].command": None}


def test_a_replaced_secret_is_not_shown():
    (change,) = declared_differences(SECRET, {**SECRET, "data": {"password": "b3RoZXI="}}, MANAGER)
    assert (change.before, change.after) == ("[secret]", "[secret]")
