"""`primage-queue push|close|pull|done|run|scale|status|dead|retry`: one queue, named by the environment.

Exit codes: 0 done, 1 failed, 2 usage, 3 the queue is finished and has dead letters, 4 Redis cannot be reached,
5 told to stop before the queue was finished.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from htc_queue.clients import RedisError, connect, explain, say
from htc_queue.domain import MOST_CONSUMERS, Lease, Patience, QueueError, counted, printable, require_fit
from htc_queue.heartbeat import UNREACHABLE

DEAD = 3
STOPPED = 5
MOST_LETTERS = 1000
MOST_AT_A_TIME = 1000
LONGEST_S = 365 * 86400


def main(arguments: list[str] | None = None) -> int:
    """The command line; every error is one sentence."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options))
    except QueueError as error:
        say(str(error))
        return UNREACHABLE if isinstance(error.__cause__, RedisError) else 1
    except RedisError as error:
        say(str(explain("PRIMAGE_QUEUE", error)))
        return UNREACHABLE
    except OSError as error:
        say(str(error))
        return 1


def _push(options: argparse.Namespace) -> int:
    queue = connect()
    added = queue.push(_arguments(options))
    if options.close:
        queue.close()
    standing = queue.standing()
    print(f"{added} pushed, {standing.pushed} in all" + (", closed" if standing.closed else ""), file=sys.stderr)
    return 0


def _arguments(options: argparse.Namespace) -> Iterator[bytes]:
    """From the command line, or one a line (or between NULs) from a file or standard input; all checked before any goes."""
    if options.argument:
        found = [text.encode(errors="surrogateescape") for text in options.argument]
    else:
        text = sys.stdin.buffer.read() if options.source == "-" else Path(options.source).read_bytes()
        found = [part for part in text.split(b"\0" if options.null else b"\n") if part]
    return iter([require_fit(argument) for argument in found])


def _close(_: argparse.Namespace) -> int:
    connect().close()
    return 0


def _pull(options: argparse.Namespace) -> int:
    leases, finished = connect().take(options.consumer, options.n, _patience(options), look_for_silent=True)
    for lease in leases:
        line = {"id": lease.id, "argument": lease.argument.decode(errors="surrogateescape"), "tries": lease.tries}
        print(json.dumps(line) if options.json else f"{lease.id}\t{_shown(lease.argument)}")
    return 1 if not leases and not finished else 0


def _shown(argument: bytes) -> str:
    """As it is for a program that reads it, spelled out for a person at a terminal."""
    text = argument.decode(errors="replace")
    return printable(text) if sys.stdout.isatty() else text


def _done(options: argparse.Namespace) -> int:
    print(connect().finish([Lease(id_, b"", 1) for id_ in options.id]))
    return 0


def _run(options: argparse.Namespace) -> int:
    from htc_queue.consumer import Command, Consumer, Deal, Function
    from htc_queue.processes import Runner

    if bool(options.call) == bool(options.command):
        raise QueueError("give a command after --, or a function with --call module:function, and not both")
    if options.n > 1 and options.output:
        raise QueueError("--output names a file an argument, so it goes with -n 1 only")
    runner = Runner()
    deal: Deal
    # Until there is a consumer to tell: as process 1 of a container it would ignore the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    if options.call:
        deal = Function(_function(options.call))
    else:
        deal = Command(options.command, runner, options.stdin, options.output, options.timeout)
    queue = connect()
    kill = None if options.call else runner.kill
    consumer = Consumer(queue, deal, _patience(options), options.n, runner.stop, kill, busy=options.busy)
    finished = consumer.work()
    here = f"{consumer.done} done here, {counted(consumer.failed, 'try', 'tries')} failed here"
    if not finished:
        say(f"told to stop: {here}")
        return STOPPED  # not 0: Kubernetes takes a Job for complete when its last pod ends and any has ended well
    dead = queue.standing().dead
    told = ": `primage queue dead` shows which arguments, and why" if dead else ""
    say(f"{here}, {counted(dead, 'dead letter', 'dead letters')}{told}")
    return DEAD if dead else 0


def _function(place: str) -> Callable[[str], object]:
    """The function called `module:function`."""
    module, _, name = place.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Callable[[str], object] = getattr(importlib.import_module(module), name)
    except SystemExit as error:
        raise QueueError(f"importing {module} ended this process with status {error.code}") from error
    return found


def _scale(options: argparse.Namespace) -> int:
    import threading

    from htc_queue.clients.kubernetes_job import Job
    from htc_queue.domain import Scaling
    from htc_queue.scaler import scale

    if options.least > options.most:
        raise QueueError(f"--least {options.least} is more than --most {options.most}")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    scale(connect(), Job(options.job), Scaling(options.least, options.most, options.each, options.calm), stopping)
    return 0


def _status(options: argparse.Namespace) -> int:
    standing = connect().standing()
    if options.json:
        print(json.dumps(standing.as_dict()))
    else:
        print("\n".join(f"{name:10} {value}" for name, value in standing.as_dict().items()))
    return 0


def _dead(options: argparse.Namespace) -> int:
    for letter in connect().letters(options.most):
        argument = letter.argument.decode(errors="replace")
        if options.json:
            record = {
                "argument": argument,
                "bytes": letter.size,
                "error": letter.error,
                "tail": letter.tail,
                "tries": letter.tries,
                "at": letter.at,
            }
            print(json.dumps(record))
        else:
            indented = "".join(f"\n    {printable(line)}" for line in letter.tail.splitlines()[-5:])
            print(f"{printable(argument[:200])}: {printable(letter.error)}, after {letter.tries} tries{indented}")
    return 0


def _retry(_: argparse.Namespace) -> int:
    print(connect().retry())
    return 0


def _patience(options: argparse.Namespace) -> Patience:
    return Patience(options.visibility, options.tries)


def _whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds, for argparse."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    """A time that ends, for argparse."""
    found = float(text)
    if not 0 < found <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of seconds above 0, up to a year")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="primage-queue", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do: object, help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_)
        sub.set_defaults(do=do)
        return sub

    def patience(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("-n", type=_whole(1, MOST_AT_A_TIME), default=1, help="how many arguments at a time")
        sub.add_argument("--visibility", type=_seconds, default=30.0, help="seconds a silent consumer is waited for")
        sub.add_argument("--tries", type=_whole(1, 1_000_000), default=3, help="how often an argument is tried in all")

    push = command("push", _push, "add arguments; those pushed before are left out")
    push.add_argument("argument", nargs="*")
    push.add_argument("--from", dest="source", default="-", help="file with one argument a line; - is standard input")
    push.add_argument("-0", dest="null", action="store_true", help="arguments end with NUL instead")
    push.add_argument("--close", action="store_true", help="nothing more will be pushed")
    command("close", _close, "say that nothing more will be pushed")
    pull = command("pull", _pull, "take arguments, for programs that acknowledge by themselves (done)")
    pull.add_argument("--consumer", required=True, help="a name nobody else has")
    pull.add_argument("--json", action="store_true")
    patience(pull)
    command("done", _done, "acknowledge what was pulled").add_argument("id", nargs="+")
    run = command("run", _run, "run a command, or a function, for every argument until the queue is finished")
    patience(run)
    run.add_argument("--timeout", type=_seconds, help="seconds one run may take")
    run.add_argument("--stdin", action="store_true", help="the argument comes on standard input")
    run.add_argument(
        "--output", default="", help="file for standard output, with {key} for its argument's name, {index} for its place"
    )
    run.add_argument("--call", default="", help="module:function, called with each argument in this process")
    run.add_argument("--busy", type=Path, help="file that is there while an argument is worked on, for a readiness probe")
    run.add_argument("command", nargs="*", help="after --; {} stands for the argument, which else comes last")
    scale = command("scale", _scale, "in a pod: keep a Job's parallelism in line with the queue's length")
    scale.add_argument("--job", required=True, help="the consumers' Job, in the pod's own namespace")
    scale.add_argument("--least", type=_whole(0, MOST_CONSUMERS), default=1, help="fewest consumers")
    scale.add_argument("--most", type=_whole(0, MOST_CONSUMERS), required=True, help="most consumers")
    scale.add_argument("--each", type=_whole(1, 1_000_000), default=1, help="arguments that one consumer is started for")
    scale.add_argument("--calm", type=_seconds, default=30.0, help="seconds that fewer must have been enough")
    command("status", _status, "how the queue stands").add_argument("--json", action="store_true")
    dead = command("dead", _dead, "arguments that failed for good, the latest first")
    dead.add_argument("--json", action="store_true")
    dead.add_argument("--most", type=_whole(1, MOST_LETTERS), default=100)
    command("retry", _retry, "push dead letters again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
