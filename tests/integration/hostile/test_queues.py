"""A member's pod that has a queue's password writes into it what primage-queue never would, while the queue is at work."""

import json
import threading
import time

import pytest

from primage.clients.cluster import Ref
from primage.components.queues.htc_settings import QUEUE_IMAGE
from primage.contract import names
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.operations.queues import StackQueue
from primage.projects.project import parse_stack_name

SPACE = "member1-at-primage-dot-eu"
STACK = parse_stack_name("htc/member1@primage.eu_vo.primage.eu.local--hostile")
QUEUE = "words-hostile-queue"
LABELS = {names.LABEL_APP: "htc", names.LABEL_INSTANCE: "words-hostile", names.LABEL_QUEUE: "words-hostile"}
ATTACK = f"""
export REDISCLI_AUTH="$(cat /secret/password)"
say() {{ redis-cli --tls --cacert /secret/ca.crt -h {QUEUE} --user queue --no-auth-warning "$@"; }}
until say PING | grep -q PONG; do sleep 0.2; done
say XADD arguments '*' something else
say XADD arguments '*' argument ''
say XADD arguments '*' argument x and more
head -c 1500000 /dev/zero | tr '\\0' x | say -x XADD arguments '*' argument
for number in -5 1e9 nan; do say HSET counters done $number dead $number pushed $number; done
say HSET rate 1 x y z
for i in 1 2 3; do say XADD dead '*' a b; done
printf '\\033[2J' | say -x XADD dead '*' argument evil error
for command in "DEL arguments" "FLUSHALL" "SET counters x" "XGROUP DESTROY arguments consumers" "XTRIM arguments MAXLEN 0" \\
  "RENAME arguments gone" "EVAL return(1) 0" "CONFIG SET maxmemory 1" "CLIENT KILL TYPE normal"; do say $command; done
"""


ASK = """
import http.client, json, os, pathlib, ssl
account = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
trust = ssl.create_default_context(cafile=str(account / "ca.crt"))
headers = {"Authorization": "Bearer " + (account / "token").read_text(), "Content-Type": "application/merge-patch+json"}
def ask(method, path, body=None):
    server = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    connection = http.client.HTTPSConnection(*server, context=trust, timeout=20)
    connection.request(method, path, body, headers)
    return connection.getresponse().status
mine, theirs = "/namespaces/member1-at-primage-dot-eu", "/namespaces/member2-at-primage-dot-eu"
print(json.dumps([
    ask("GET", f"/apis/batch/v1{mine}/jobs/words-hostile-consumers"),
    ask("PATCH", f"/apis/batch/v1{mine}/jobs/words-hostile-producer", "{}"),
    ask("DELETE", f"/apis/batch/v1{mine}/jobs/words-hostile-consumers"),
    ask("GET", f"/apis/batch/v1{theirs}/jobs"),
    ask("GET", f"/api/v1{mine}/secrets"),
]))
"""


@pytest.fixture
def running(site):
    """An application of the member's that waits for a file before it deals with anything."""
    engine, ended = EmbeddedEngine(), []
    script = 'until [ -e "$HOME/hostile-gate" ]; do sleep 0.2; done; printf "%s" "$1" > "$HOME/hostile-$1"'
    consumer = {"image": QUEUE_IMAGE, "bring_queue": False, "command": ["sh", "-c", script, "x"], "cpu": "100m", "memory": "64Mi"}
    application = {
        "name": "words",
        "parallelism": 1,
        "consumer": consumer,
        "producer": {"arguments": ["one", "two", "three"], "cpu": "100m"},
        "scaling": {"minimum": 1, "maximum": 2, "calm_seconds": 2},
        "deadline_seconds": 300,
    }

    def up():
        try:
            engine.up(STACK, Options(overrides={"htc": application}))
            ended.append("")
        except PrimageError as error:
            ended.append(str(error))

    engine.destroy(STACK, Options())
    thread = threading.Thread(target=up, daemon=True)
    thread.start()
    yield lambda: thread.join(timeout=240) or ended[0]
    engine.destroy(STACK, Options())


def test_a_member_who_writes_into_a_queue_stops_neither_it_nor_its_scaler(tenant, running, cluster):
    """The scaler is the same process afterwards, every argument is dealt with, and nothing an operator sees is obeyed."""
    secret = {"name": "secret", "secret": {"secretName": QUEUE, "defaultMode": 0o440}}
    pod = tenant.pod("hostile-queue", ATTACK, labels=LABELS, volumes=[secret])
    (container,) = pod["spec"]["containers"]
    container |= {
        "image": f"10.89.77.11:5000/{QUEUE_IMAGE}",
        "volumeMounts": [{"name": "secret", "mountPath": "/secret", "readOnly": True}],
    }
    until(tenant, f"deployment/{QUEUE}-scaler", "jsonpath={.status.availableReplicas}=1")
    until(tenant, "job/words-hostile-producer", "condition=complete")
    said = tenant.says(pod)
    assert said.count("NOPERM") == 9, said
    gate = tenant.pod("hostile-gate", 'touch "/home/hostile-gate"', volumes=[home()])
    mount(gate)
    tenant.says(gate)
    assert "some of its arguments failed for good" in running()
    standing = StackQueue(STACK).standing()
    assert (standing["waiting"], standing["running"], standing["finished"]) == (0, 0, True)
    letters = StackQueue(STACK).letters()
    assert sum("did not write this entry" in letter["error"] for letter in letters) == 4
    look = tenant.pod(
        "hostile-look", "cat /home/hostile-one /home/hostile-two /home/hostile-three; rm /home/hostile-*", volumes=[home()]
    )
    mount(look)
    assert tenant.says(look) == "onetwothree"
    scaler = cluster.list("v1", "Pod", SPACE, labels=f"{names.LABEL_QUEUE}=words-hostile,{names.LABEL_COMPONENT}=scaler")
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in scaler] == [0]


def test_the_scalers_token_changes_no_other_job(tenant, running, cluster):
    """Taken from its pod, as a member with `edit` can do by `exec`."""
    until(tenant, f"deployment/{QUEUE}-scaler", "jsonpath={.status.availableReplicas}=1")
    (pod,) = cluster.list("v1", "Pod", SPACE, labels=f"{names.LABEL_QUEUE}=words-hostile,{names.LABEL_COMPONENT}=scaler")
    code, out, err = cluster.execute(Ref("v1", "Pod", pod["metadata"]["name"], SPACE), ["python3", "-c", ASK])
    assert code == 0, err
    assert json.loads(out) == [200, 403, 403, 403, 403]


def until(tenant, thing, condition):
    """Wait as the tenant; what is not there yet is asked for again."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        if tenant.try_to("wait", thing, "-n", SPACE, f"--for={condition}", "--timeout=5s").returncode == 0:
            return
        time.sleep(0.5)
    raise AssertionError(f"{thing} does not come about")


def home():
    return {"name": "home", "persistentVolumeClaim": {"claimName": names.CLAIM_HOME_PRIVATE}}


def mount(pod):
    (container,) = pod["spec"]["containers"]
    container["volumeMounts"] = [{"name": "home", "mountPath": "/home"}]
