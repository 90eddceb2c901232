"""Settings of a high-throughput application, apart from its components so that checking a file needs no Pulumi."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from primage.components.jobs.batch_settings import ContainerSettings
from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import FilesPattern, Function, ShortName

QUEUE_IMAGE = "primage/queue:1"


class ProducerSettings(Settings):
    """What fills the queue: exactly one of `arguments`, `files` and `command`."""

    arguments: tuple[str, ...] = Field(default=(), description="The arguments themselves.")
    files: FilesPattern = Field(default="", description="Pattern of paths below HOME/private; each path is an argument.")
    command: tuple[str, ...] = Field(
        default=(), description="Program that writes one argument per line to standard output; its image needs primage-queue."
    )
    round: int = Field(
        default=1, ge=1, description="Raise it to run the producer once more, for files that have come since, or other output."
    )
    image: str = Field(default=QUEUE_IMAGE, min_length=1, description="Image of the producer.")
    cpu: SomeQuantity = Field(default="500m", description="Processor cores.")
    memory: SomeQuantity = Field(default="128Mi", description="Main memory.")

    @model_validator(mode="after")
    def _one(self) -> ProducerSettings:
        given = [name for name in ("arguments", "files", "command") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of arguments, files and command, not {' and '.join(given) or 'none'}")
        return self


class ConsumerSettings(ContainerSettings):
    """What is done with each argument: exactly one of `command` and `call`."""

    image: str = Field(min_length=1, description="Container image; its python3 (3.11 or later) runs primage-queue.")
    bring_queue: bool = Field(
        default=True,
        description="Put primage-queue into the container; false for an image that has the site's own version (a second faster).",
    )
    command: tuple[str, ...] = Field(default=(), description="Program to run; {} stands for the argument, by default the last.")
    call: Function = Field(
        default="",
        description="Python function to call instead (module:function): what it loads is loaded once.",
    )
    output: str = Field(
        default="",
        description="File below HOME/private for standard output, with {key} for a readable name made of the argument and "
        "{index} for its place in the order of pushing, from 0.",
    )
    batch: int = Field(default=1, ge=1, le=1000, description="Arguments at a time.")
    tries: int = Field(default=3, ge=1, le=100, description="How often an argument is tried before it is a dead letter.")
    visibility_seconds: float = Field(default=30, ge=2, le=3600, description="How long a silent consumer is waited for.")
    timeout_seconds: float | None = Field(default=None, gt=0, description="Longest time for one run of the command.")
    restarts: int = Field(default=20, ge=0, le=1000, description="How many consumers may die before the application fails.")

    @model_validator(mode="after")
    def _one(self) -> ConsumerSettings:
        if bool(self.command) == bool(self.call):
            raise ValueError("give either command or call")
        if unknown := set(re.findall(r"[{]([^{}]*)[}]", self.output)) - {"key", "index"}:
            raise ValueError(f"output: {{{unknown.pop()}}} stands for nothing; {{key}} and {{index}} do")
        if self.output and not re.search(r"{(key|index)}", self.output):
            raise ValueError("output must contain {key} or {index}: else every argument would overwrite one file")
        if self.output.startswith("/") or ".." in self.output.split("/"):
            raise ValueError("output must be a path below HOME/private, without .. and not beginning with /")
        if self.output and (self.call or self.batch > 1):
            raise ValueError("output needs command and batch 1: it is one file per argument")
        return self


class ScalingSettings(Settings):
    """Consumers by the queue's length."""

    minimum: int = Field(default=1, ge=0, le=1000, description="Fewest consumers; 0 for none until there is something to do.")
    maximum: int = Field(ge=1, le=1000, description="Most consumers.")
    arguments_per_consumer: int = Field(default=1, ge=1, description="How many arguments a consumer is started for.")
    calm_seconds: float = Field(
        default=30, ge=2, le=3600, description="How long fewer must have been enough before there are fewer."
    )

    @model_validator(mode="after")
    def _in_order(self) -> ScalingSettings:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum: {self.minimum} is more than maximum, which is {self.maximum}")
        return self


class HtcSettings(Settings):
    """A producer, a queue and consumers (paper, section 4.1.5)."""

    name: ShortName = Field(description="Name of the application and its queue (the paper's service name).")
    parallelism: int = Field(default=2, ge=0, le=1000, description="Consumers; may change while they run (`primage scale`).")
    scaling: ScalingSettings | None = Field(
        default=None, description="Change their number by the queue's length, beginning with `parallelism`."
    )
    producer: ProducerSettings = Field(description="What fills the queue.")
    consumer: ConsumerSettings = Field(description="What empties it.")
    queue_memory: SomeQuantity = Field(default="256Mi", description="Main memory of the queue: arguments that wait are kept in it.")
    priority: str = Field(default="", description="One of the site's priority classes; empty for its default.")
    deadline_seconds: int = Field(default=3600, ge=1, description="Seconds after which producer and consumers are ended.")
    keep_seconds: int = Field(default=7 * 86400, ge=0, description="Seconds finished jobs, with their logs, are kept.")

    @model_validator(mode="after")
    def _within(self) -> HtcSettings:
        scaling = self.scaling
        if not scaling and not self.parallelism:
            raise ValueError("parallelism: without scaling, 0 consumers would stay 0")
        if scaling and not scaling.minimum <= self.parallelism <= scaling.maximum:
            raise ValueError(f"parallelism: {self.parallelism} is not between scaling's {scaling.minimum} and {scaling.maximum}")
        return self
