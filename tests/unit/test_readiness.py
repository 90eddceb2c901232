import pytest
from hypothesis import given
from hypothesis import strategies as st

from primage.errors import PrimageError
from primage.kubernetes.readiness import (
    READY,
    State,
    explain_amounts,
    explain_pods,
    explain_quota,
    health,
    pods_succeeded,
    require_known_wait,
    verdict,
)


def job(**status):
    return {"kind": "Job", "metadata": {}, "spec": {"backoffLimit": 2, "activeDeadlineSeconds": 9}, "status": status}


def condition(name, reason=""):
    return {"conditions": [{"type": name, "status": "True", "reason": reason}]}


@pytest.mark.parametrize(
    ("obj", "state"),
    [
        (job(), State.WAITING),
        (job(**condition("Complete")), State.READY),
        (job(**condition("SuccessCriteriaMet")), State.READY),
        (job(**condition("Failed", "BackoffLimitExceeded")), State.FAILED),
        ({"kind": "Namespace", "status": {"phase": "Active"}}, State.READY),
        ({"kind": "Namespace", "status": {"phase": "Terminating"}}, State.WAITING),
        ({"kind": "PersistentVolumeClaim", "status": {"phase": "Bound"}}, State.READY),
        ({"kind": "PersistentVolumeClaim", "status": {"phase": "Lost"}}, State.FAILED),
        ({"kind": "ConfigMap"}, State.READY),
        ({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {}, "status": {"observedGeneration": 1}}, State.WAITING),
        (
            {
                "kind": "Deployment",
                "metadata": {"generation": 2},
                "spec": {"replicas": 1},
                "status": {"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1},
            },
            State.READY,
        ),
        ({"kind": "CustomResourceDefinition", "status": {}}, State.WAITING),
    ],
)
def test_verdicts(obj, state):
    assert verdict(obj).state is state


def test_a_failed_job_says_how_often_it_was_tried():
    assert "failed 3 times" in verdict(job(**condition("Failed", "BackoffLimitExceeded"))).detail
    assert "deadline of 9 s" in verdict(job(**condition("Failed", "DeadlineExceeded"))).detail


NODE = {"metadata": {"name": "n", "labels": {"disk": "ssd"}}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}}


def pod(cpu="1", selector=None, waiting=None):
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    status = (
        {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/1 nodes"}]} if waiting is None else {}
    )
    if waiting:
        status["containerStatuses"] = [{"name": "c", "image": "x:1", "state": {"waiting": {"reason": waiting}}}]
    return {"metadata": {"name": "p"}, "spec": {"containers": [container], "nodeSelector": selector or {}}, "status": status}


def test_more_than_any_node_has_can_never_run():
    told = explain_pods([pod(cpu="64")], [NODE])
    assert told.state is State.FAILED
    assert "64 of cpu" in told.detail
    assert "largest node has 2" in told.detail


def test_no_room_now_is_worth_waiting_for():
    assert explain_pods([pod(cpu="1")], [NODE]).state is State.WAITING


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found.",
            "of 2 nodes, 2 with too little cpu left",
        ),
        (
            "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint "
            "{node-role.kubernetes.io/control-plane: }, 1 node(s) didn't match Pod's node affinity/selector. "
            "no new claims to deallocate, preemption: none.",
            "of 3 nodes, 1 with too little memory left, 1 kept free by the taint node-role.kubernetes.io/control-plane, "
            "1 that the pod's node selector leaves out",
        ),
        (
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.",
            "of 3 nodes, 1 kept free by taints, 2 with too little cpu left",
        ),
        ("something else altogether", "something else altogether"),
        ("0/1 nodes are available: 1 Insufficient " + "1" * 1_000_000, "of 1 node, 1 with too little " + "1" * 1960 + " left"),
    ],
)
def test_what_the_scheduler_says_is_put_in_words(said, words):
    waits = pod(cpu="1")
    waits["status"]["conditions"][0]["message"] = said
    assert explain_pods([waits], [NODE]).detail == f"no node has room now: {words}"


def test_what_its_nodes_own_pods_leave_no_room_for_can_never_run():
    def on(node, owner, cpu="350m"):
        resources = {"requests": {"cpu": cpu, "memory": "70Mi"}}
        owners = [{"kind": owner, "name": "o"}]
        return {
            "metadata": {"name": "s", "ownerReferences": owners},
            "spec": {"nodeName": node, "containers": [{"resources": resources}]},
        }

    told = explain_pods([pod(cpu="2")], [NODE], [on("n", "DaemonSet")])
    assert told.state is State.FAILED
    assert told.detail == "it asks for 2 of cpu, and the largest node has 2, of which its own pods take 0.350"
    gone, ended = on("n", "DaemonSet"), on("n", "DaemonSet")
    gone["metadata"]["deletionTimestamp"], ended["status"] = "2026-01-01T00:00:00Z", {"phase": "Failed"}
    for elsewhere in (on("m", "DaemonSet"), on("n", "ReplicaSet"), gone, ended):
        assert explain_pods([pod(cpu="2")], [NODE], [elsewhere]).state is State.WAITING
    assert explain_pods([pod(cpu="1.65")], [NODE], [on("n", "Node")]).state is State.WAITING


def test_a_label_no_node_has():
    assert "gpu=a100" in explain_pods([pod(selector={"gpu": "a100"})], [NODE]).detail


@pytest.mark.parametrize(
    ("reason", "state"), [("ErrImagePull", State.WAITING), ("ImagePullBackOff", State.FAILED), ("InvalidImageName", State.FAILED)]
)
def test_images(reason, state):
    told = explain_pods([pod(waiting=reason)], [NODE])
    assert told.state is state
    assert "x:1" in told.detail


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        ("10.0.0.1:5000/primage/desktop:1", True),
        ("registry.example.org/ours/primage/desktop:1", True),
        ("10.0.0.1:5000/primage/web:1", False),
        ("10.0.0.1:5000/primage/desktop-of-mine:1", False),
    ],
)
def test_an_image_that_a_site_has_only_where_it_was_asked_for(image, asked):
    stuck = pod(waiting="ImagePullBackOff")
    stuck["status"]["containerStatuses"][0]["image"] = image
    assert ("primage site local images desktop" in explain_pods([stuck], [NODE]).todo) is asked


def test_nothing_wrong_says_nothing():
    assert explain_pods([pod(waiting="")], [NODE]) is None


def session(wait="jsonpath={.status.ready}=1", **status):
    return {"kind": "Job", "metadata": {"name": "s", "annotations": {"pulumi.com/waitFor": wait}}, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("obj", "state"),
    [
        (session(), State.WAITING),
        (session(active=1, ready=0), State.WAITING),
        (session(active=1, ready=1), State.READY),
        (session(ready=0, **condition("Complete")), State.FAILED),
        (session(ready=0, **condition("Failed", "BackoffLimitExceeded")), State.FAILED),
    ],
)
def test_what_ready_means_may_be_said_by_an_annotation(obj, state):
    require_known_wait(obj)
    assert verdict(obj).state is state


@pytest.mark.parametrize("wait", ["condition=Ready", "jsonpath={.status.ready}", '["jsonpath={.a}=1"]', "jsonpath={.a[0]}=1"])
def test_a_wait_only_pulumi_knows_is_refused(wait):
    with pytest.raises(PrimageError, match="which this engine does not support"):
        require_known_wait(session(wait))


USED_UP = 'pods "x" is forbidden: exceeded quota: vo, requested: requests.cpu=1, used: requests.cpu=8, limited: requests.cpu=8'
NEVER = (
    "exceeded quota: vo, requested: pods=1,requests.nvidia.com/gpu=1, used: pods=0,requests.nvidia.com/gpu=0, "
    "limited: pods=10,requests.nvidia.com/gpu=0"
)


def test_a_quota_that_is_used_up_is_waited_for():
    assert explain_quota(USED_UP).state is State.WAITING


def test_what_a_quota_can_never_give_fails_at_once_with_both_numbers():
    found = explain_quota(NEVER)
    assert found.state is State.FAILED
    assert "1 of requests.nvidia.com/gpu" in found.detail
    assert "whole quota is 0" in found.detail


@given(st.text(max_size=200))
def test_no_message_of_a_quota_breaks_the_explanation(text):
    for message in (text, f"requested: {text}, used: {text}, limited: {text}"):
        assert explain_quota(message).state in {State.WAITING, State.FAILED}
        assert (explain_amounts(f"exceeded quota: {message}") or READY).state is not State.READY


def test_what_a_container_may_never_ask_for_fails_and_other_refusals_are_not_about_amounts():
    found = explain_amounts('pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi')
    assert found.state is State.FAILED
    assert "maximum memory usage per Container is 1Gi, but limit is 2Gi" in found.detail
    assert explain_amounts('pods "x" is forbidden: violates PodSecurity "restricted:latest"') is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "no pod yet"),
        ({"active": 1, "ready": 0}, "0 of 1 pods running"),
        ({"active": 0, "uncountedTerminatedPods": {"succeeded": ["u"]}}, "its work is done"),
        ({"succeeded": 1, "uncountedTerminatedPods": {}}, "its work is done"),
        ({"succeeded": 1}, "its work is done"),
        ({"failed": 1}, "its last pod has ended"),
        ({"terminating": 1}, "its last pod has ended"),
    ],
)
def test_a_job_whose_pod_has_ended_does_not_wait_for_one(status, words):
    assert words in verdict(job(**status)).detail


def test_a_job_that_another_controller_carries_waits_for_that():
    obj = job()
    obj["spec"]["managedBy"] = "hpc.primage.eu/connector"
    assert verdict(obj).detail == "not taken up by its controller yet"


@pytest.mark.parametrize(
    ("label", "stack"), [("htc_vo.primage.eu.local--x", "htc/vo.primage.eu.local--x"), ("", "STACK"), ("h_" + "x" * 61, "STACK")]
)
def test_failed_consumers_say_how_to_see_what_failed(label, stack):
    obj = job(**condition("Failed", "PodFailurePolicy"))
    obj["metadata"]["labels"] = {"primage.eu/queue": "q", "app.kubernetes.io/component": "consumers", "primage.eu/stack": label}
    assert f"`primage queue dead {stack}`" in verdict(obj).todo
    obj["metadata"]["labels"]["app.kubernetes.io/component"] = "producer"
    assert "queue dead" not in verdict(obj).todo


def ended(*codes, owner="job-1", restart="Never", containers=1):
    """A pod whose containers have ended with these statuses; None for one that runs."""
    states = [{"running": {}} if code is None else {"terminated": {"exitCode": code}} for code in codes]
    return {
        "metadata": {"ownerReferences": [{"uid": owner, "controller": True}]},
        "spec": {"restartPolicy": restart, "containers": [{}] * containers},
        "status": {"containerStatuses": [{"state": state} for state in states]},
    }


@pytest.mark.parametrize(
    ("spec", "pods", "done"),
    [
        ({}, [ended(0)], True),
        ({"completions": 1}, [ended(0)], True),
        ({"parallelism": 2}, [ended(0), ended(0)], True),
        ({}, [ended(0, 0, containers=2)], True),
        ({}, [], False),
        ({}, [ended(None)], False),
        ({}, [ended(0), ended(None)], False),
        ({}, [ended(0), ended(3)], False),
        ({}, [ended(0, containers=2)], False),
        ({}, [ended(0, restart="OnFailure")], False),
        ({}, [ended(0, owner="another")], False),
        ({"completions": 2}, [ended(0)], False),
        ({"managedBy": "hpc.primage.eu/connector"}, [ended(0)], False),
        ({"suspend": True}, [ended(0)], False),
        ({"successPolicy": {"rules": [{}]}}, [ended(0)], False),
    ],
)
def test_a_job_is_done_when_all_its_pods_have_succeeded(spec, pods, done):
    assert pods_succeeded({"kind": "Job", "metadata": {"uid": "job-1"}, "spec": spec}, pods) is done


@pytest.mark.parametrize("other", ["FailureTarget", "Failed", "Suspended"])
def test_a_job_that_ends_otherwise_is_not_done_by_its_pods(other):
    obj = {"kind": "Job", "metadata": {"uid": "job-1"}, "spec": {}, "status": condition(other)}
    assert not pods_succeeded(obj, [ended(0)])


def test_a_pod_that_is_driven_out_has_not_succeeded():
    obj = {"kind": "Job", "metadata": {"uid": "job-1"}, "spec": {}}
    assert not pods_succeeded(obj, [{**ended(0), "status": {**ended(0)["status"], **condition("DisruptionTarget")}}])


def test_what_up_waited_for_is_not_what_a_queue_is_like_later():
    annotations = {"annotations": {"pulumi.com/waitFor": "jsonpath={.status.updatedReplicas}=1"}}
    status = {"updatedReplicas": 1, "observedGeneration": 2}
    queue = {"kind": "StatefulSet", "metadata": {**annotations, "generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert verdict(queue).state is State.READY
    assert health(queue).state is State.WAITING
    status |= {"readyReplicas": 1}
    assert health(queue).state is State.READY


def test_what_was_true_before_a_change_is_not_what_is_waited_for():
    annotations = {"annotations": {"pulumi.com/waitFor": "jsonpath={.status.updatedReplicas}=1"}}
    status = {"updatedReplicas": 1, "observedGeneration": 1}
    assert verdict({"kind": "StatefulSet", "metadata": {**annotations, "generation": 2}, "status": status}).state is State.WAITING


def test_a_session_is_as_ready_as_its_job():
    annotations = {"annotations": {"pulumi.com/waitFor": "jsonpath={.status.ready}=1"}}
    assert health({"kind": "Job", "metadata": annotations, "spec": {}, "status": {"ready": 1}}).state is State.READY


def test_a_pod_that_has_failed_is_told_in_its_own_words():
    ended = {"exitCode": 128, "reason": "StartError", "message": "failed to create shim task"}
    failed = {"kind": "Pod", "status": {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": ended}}]}}
    assert verdict(failed).state is State.FAILED
    assert verdict(failed).detail == "container c: StartError: failed to create shim task"
    assert verdict({"kind": "Pod", "status": {"phase": "Failed", "reason": "Evicted"}}).detail == "Evicted"
