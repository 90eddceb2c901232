"""An HPC centre on this machine without a site: an SSH and SFTP server, and a Slurm that is three scripts and a folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import asyncssh

SQUEUE = """#!/bin/bash
# squeue --me [--states=all] --noheader --format=...
all='' format=''
for option in "$@"; do
  case $option in --states=all) all=yes ;; --format=*) format=${option#--format=} ;; esac
done
for job in "$SLURM_FOLDER"/*/; do
  [ -e "$job/state" ] || continue
  # By the shell itself: a connector asks several times a second, and each other program is a process.
  number=${job%/} number=${number##*/} state='' said=''
  read -r state < "$job/state"
  IFS= read -r said < "$job/comment"
  case $state in PENDING | RUNNING) ;; *) [ -n "$all" ] || continue ;; esac
  line=${format//%A/$number} line=${line//%T/$state} line=${line//%r/None}
  echo "${line//%k/$said}"
done
"""
SBATCH = """#!/bin/bash
# sbatch OPTION... SCRIPT ARGUMENT...
said='' folder=. output=/dev/null
while :; do
  case $1 in
    --comment=*) said=${1#*=} ;; --chdir=*) folder=${1#*=} ;; --output=*) output=${1#*=} ;;
    --*) ;;
    *) break ;;
  esac
  shift
done
if [ -e "$SLURM_FOLDER/says" ]; then cat "$SLURM_FOLDER/says" >&2; exit 1; fi
exec 8> "$SLURM_FOLDER/lock"; flock 8
number=$(( $(ls "$SLURM_FOLDER" | grep -c '^[0-9]') + 1 ))
job=$SLURM_FOLDER/$number
mkdir "$job"
echo "$said" > "$job/comment"
echo RUNNING > "$job/state"
cd "$folder"
OUTPUT=$output setsid bash -c '
  echo $$ > "$0/pid"
  bash "$@" >> "$OUTPUT" 2>&1
  code=$?
  [ "$(cat "$0/state")" = CANCELLED ] || { [ $code = 0 ] && echo COMPLETED || echo FAILED; } > "$0/.state"
  [ ! -s "$0/.state" ] || mv "$0/.state" "$0/state"
' "$job" "$@" > /dev/null 2>&1 < /dev/null 8>&- &
echo "$number"
"""
SCANCEL = """#!/bin/bash
for number in "$@"; do
  job=$SLURM_FOLDER/$number
  case $(cat "$job/state") in PENDING | RUNNING) ;; *) continue ;; esac
  echo CANCELLED > "$job/state"
  kill -KILL -- "-$(cat "$job/pid")"
done
"""


class Centre:
    """A login node whose account is whoever runs this, with its folders below `folder`.

    Attributes:
        scratch: where working folders are, in a folder `primage`.
        cuts: the next command that has this in it ends without a word and without a status; empty for none.
        slurm: what its Slurm knows: by number, the state and comment of every job there was. A file `says` is why it takes none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch, self.slurm = folder / "scratch", folder / "slurm"
        self.home = folder / "account"
        self._bin = folder / "bin"
        for path in (self.scratch, self.slurm, self.home, self._bin):
            path.mkdir(parents=True)
        for name, text in (("squeue", SQUEUE), ("sbatch", SBATCH), ("scancel", SCANCEL)):
            (self._bin / name).write_text(text)
            (self._bin / name).chmod(0o755)
        self._host, self._user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        self.port = 0
        self.cuts = ""
        self._loop = asyncio.new_event_loop()
        self._server: asyncssh.SSHAcceptor | None = None

    def start(self) -> Centre:
        ready = threading.Event()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._listen())
            ready.set()
            self._loop.run_forever()

        threading.Thread(target=serve, daemon=True).start()
        assert ready.wait(30)
        return self

    def stop(self) -> None:
        """End the server, and every job that still runs."""
        self.away()
        for number in self.jobs():
            command = [str(self._bin / "scancel"), number]
            subprocess.run(command, env=self._environment(), check=False, timeout=30, capture_output=True)
        for work in self.scratch.glob("primage/*/"):
            (work / "stop").touch()  # what left its job's session, as some tests' jobs do, looks for this
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(120)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def away(self) -> None:
        """Nobody can reach it any more."""
        if self._server:
            server, self._server = self._server, None
            self._loop.call_soon_threadsafe(server.close)

    def back(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(30)

    def secret(self) -> dict[str, bytes]:
        """What a backend's Secret holds for it."""
        public = self._host.export_public_key().decode().strip()
        key = self._user.export_private_key()
        return {"username": b"account", "ssh-privatekey": key, "known_hosts": f"[127.0.0.1]:{self.port} {public}".encode()}

    def backend(self, name: str = "hpc") -> dict[str, object]:
        """How a site describes it to the connector."""
        return {"name": name, "endpoint": f"127.0.0.1:{self.port}", "scratch": str(self.scratch), "poll_s": 0.2}

    def jobs(self) -> dict[str, tuple[str, str]]:
        """By number, state and comment."""
        found = {}
        for job in self.slurm.glob("[0-9]*"):
            if (job / "state").exists():
                found[job.name] = ((job / "state").read_text().strip(), (job / "comment").read_text().strip())
        return found

    def states(self, uid: str) -> list[str]:
        return [state for state, said in self.jobs().values() if f":{uid}:" in said]

    def work(self, uid: str) -> Path:
        """A job's working folder."""
        return self.scratch / "primage" / uid

    def _environment(self) -> dict[str, str]:
        path = f"{self._bin}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.home), "USER": "account", "SLURM_FOLDER": str(self.slurm)}

    async def _listen(self) -> None:
        self._server = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[self._host],
            authorized_client_keys=asyncssh.import_authorized_keys(self._user.export_public_key().decode()),
            process_factory=self._run,
            sftp_factory=True,
            encoding=None,
        )
        self.port = self._server.get_port()

    async def _run(self, process: asyncssh.SSHServerProcess) -> None:
        command = process.command or "exit 1"
        if self.cuts and self.cuts in command:
            self.cuts = ""
            process.close()
            return
        child = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            command,
            env=self._environment(),
            cwd=self.home,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stdin
        assert child.stdout
        assert child.stderr
        fed = asyncio.create_task(_pump(process.stdin, child.stdin))
        try:
            await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
            process.exit(await child.wait())
        finally:
            fed.cancel()
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)  # with what it started, which would keep its pipes open
            child._transport.close()  # waiting for it would wait for pipes that nobody reads any more


async def _pump(source: asyncio.StreamReader | asyncssh.SSHReader, target: asyncio.StreamWriter | asyncssh.SSHWriter) -> None:
    with suppress(OSError):
        while block := await source.read(1 << 16):
            target.write(block)
            await target.drain()
        if isinstance(target, asyncio.StreamWriter):
            target.close()
