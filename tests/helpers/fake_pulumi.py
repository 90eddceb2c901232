"""A `pulumi` that says what a test has it say, and notes how it was called.

FAKE_PULUMI names a folder. `script.json` there is a list of answers: the first whose `verb` is how the arguments begin is
given, and used up unless it says `always`. Calls are appended to `calls`, a JSON document a line.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

folder = Path(os.environ["FAKE_PULUMI"])
arguments = sys.argv[1:]
settings = {path.name: path.read_text() for path in Path.cwd().glob("Pulumi*.yaml")}
file = Path(arguments[arguments.index("--file") + 1]).read_text() if "--file" in arguments else ""
backend = os.environ.get("PULUMI_BACKEND_URL", "")
call = {"arguments": arguments, "settings": settings, "backend": backend, "cwd": str(Path.cwd()), "file": file}
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(call) + "\n")
script = json.loads((folder / "script.json").read_text())
answer = next((a for a in script if arguments[: len(a["verb"])] == a["verb"]), None)
if answer is None:
    sys.exit(f"nothing to say to {arguments}")
if not answer.get("always"):
    script.remove(answer)
    (folder / "script.json").write_text(json.dumps(script))
stopped = threading.Event()
signal.signal(signal.SIGINT, lambda *_: stopped.set() if not answer.get("deaf") else None)
if "--event-log" in arguments:
    with Path(arguments[arguments.index("--event-log") + 1]).open("a") as log:
        for event in answer.get("events", []):
            log.write(json.dumps(event) + "\n")
print(answer.get("out", ""), flush=True)
print(answer.get("error", ""), file=sys.stderr, flush=True)
if answer.get("hang"):
    stopped.wait(60)
    (folder / "interrupted").touch()
    sys.exit(255)
sys.exit(answer.get("status", 0))
