"""The local site: a whole site on this machine, stood up by the same playbooks and program as any other."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from primage.engine.api import Event
from primage.errors import ExitCode, PrimageError
from primage.local.cgroups import require_own_cgroups
from primage.local.data import data_images, data_tools, keeps_data
from primage.local.files import remove_files
from primage.local.gateway import gateway_images, gateway_of, gateway_tools, install_kinds
from primage.local.images import storage
from primage.local.images.build import ensure_images
from primage.local.images.catalogue import (
    AUTHORIZER_REQUIREMENTS,
    HPC_REQUIREMENTS,
    KUBE_ROUTER,
    NOTEBOOK_REQUIREMENTS,
    PORTAL_REQUIREMENTS,
    QUEUE_REQUIREMENTS,
    STUDY,
    STUDY_REQUIREMENTS,
    Image,
    app_images,
    base_image,
    images_on_demand,
    kube_router_image,
    kubernetes_images,
    login_images,
    machine_image,
)
from primage.local.images.keycloak import keycloak_distribution
from primage.local.images.push import known_references, push_images, push_own, site_registry
from primage.local.images.wheels import unpack_wheels
from primage.local.leftovers import remove_leftovers
from primage.local.steps import Step, run_steps
from primage.local.toolchain.build import KUBE_ROUTER_TOOLS, KUBERNETES_TOOLS, tools_dir
from primage.paths import cache_dir, local_site_dir, log_dir, repository_root
from primage.process import capture, run_logged
from primage.projects.connection import SETTINGS
from primage.projects.project import StackName, project_of, stack_config

SITE = "local"
INVENTORY = "playbooks/inventories/local.yml"
PLAYBOOK_TIMEOUT_S = 20 * 60
APT_TIMEOUT_S = 15 * 60
PULL_TIMEOUT_S = 5 * 60
NODES = ("primage-local-front", "primage-local-worker-1")
PACKAGES = {
    "binutils": "strip",
    "buildah": "buildah",
    "iptables": "iptables",
    "maven": "mvn",
    "mmdebstrap": "mmdebstrap",
    "netavark": "/usr/lib/podman/netavark",
    "openssh-client": "ssh-keygen",
    "podman": "podman",
    "runc": "runc",
    "uidmap": "newuidmap",
}
"""Debian packages of the host, each with the program that shows it is there."""

OTHER_LOGS = (
    *("bench-images.log", "down.log", "hpc-known-hosts", "import-images.log", "push.log", "study-local.log"),
    *("gateway-images.log", "gateway-kinds.log", "gateway-tools.log", "data-images.log", "data-tools.log"),
)
"""What is written beside the logs of the steps, or was by a step that there was once or is with other settings."""

Report = Callable[[float, str], None]


def require_host() -> None:
    """Refuse, before anything is touched, a machine that cannot carry machines."""
    if platform.system() != "Linux":
        raise PrimageError(
            f"the local site needs Linux (its machines are containers), and this is {platform.system()}",
            todo="use a Linux machine or virtual machine; `make test-unit` works here, and `make site KUBECONFIG=…` uses "
            "a cluster you have",
            code=ExitCode.UNSUPPORTED,
        )
    if os.geteuid() != 0:
        raise PrimageError(
            "the local site needs root: it makes machines with systemd, a network and mounts",
            todo="run the same command with sudo; `make test-unit` works without, and `make site KUBECONFIG=…` uses "
            "a cluster you have",
            code=ExitCode.UNSUPPORTED,
        )


@dataclass
class LocalSite:
    """Its steps, given the repository they are read from."""

    repository: Path
    choices: list[str] = field(default_factory=list)
    """What was taken from where, in sentences, once it is up."""

    def up(self) -> None:
        """Stand the site up, or bring a standing one in line; goes on where an earlier run stopped."""
        require_host()
        require_own_cgroups()
        with self._lock():
            run_steps(self._steps([*self._gateway_steps(), *self._data_steps()]), log_dir())

    def _steps(self, further: Sequence[Step] = ()) -> list[Step]:
        """All of them, with those of parts that not every site has."""
        before = ["cluster", "app-images", "login-images", *(step.name for step in further)]
        return [
            Step("packages", "Install Debian packages", self._packages),
            Step("tools", "Take or build Kubernetes' tools", self._tools),
            Step("base-images", "Build the base and machine images", self._base_images, ["packages"]),
            Step("libraries", "Fetch the applications' libraries", self._libraries),
            Step("keycloak", "Fetch Keycloak", self._keycloak, ["packages"]),
            Step("software", "Stage the HPC machine's software", self._software, ["libraries"]),
            Step("authority", "Make the authority of the site's certificates", self._authority),
            Step("machines", "Make the machines", self._playbook("local-site"), ["base-images", "software"]),
            Step("registry", "Run the site's registry", self._playbook("create-registry"), ["machines"]),
            Step("kubernetes-images", "Build and push Kubernetes' images", self._kubernetes_images, ["registry", "tools"]),
            Step("app-images", "Build and push the applications' images", self._app_images, ["registry", "libraries"]),
            Step("login-images", "Build and push what people log in with", self._login_images, ["registry", "keycloak"]),
            Step("cluster", "Make the cluster", self._cluster, ["kubernetes-images", "authority"]),
            Step("hpc", "Make the HPC site", self._playbook("create-hpc"), ["machines"]),
            *further,
            Step("site", "Bring the site program up", self._site, before),
            Step("study-image", "Have the nodes pull the study's image", self._pull_study, ["cluster", "app-images"]),
            Step("hpc-login", "Connect the VOs to the HPC site", self._hpc_login, ["site", "hpc"]),
        ]

    def _gateway_steps(self) -> list[Step]:
        """None, unless members' sessions open in a browser."""
        gateway = gateway_of(self._settings())
        if gateway is None:
            return []

        def tools(log: Path, report: Report) -> None:
            for each in gateway_tools(gateway):
                report(0.01, each.describe())
                each.build(log, report, self.choices.append)

        def images(log: Path, report: Report) -> None:
            self._build_and_push(gateway_images(gateway, self.repository, log), log, report)

        def kinds(log: Path, _report: Report) -> None:
            install_kinds(gateway, log)

        return [
            Step("gateway-tools", "Take or build the gateway's programs", tools),
            Step("gateway-images", "Build and push the gateway's images", images, ["registry", "gateway-tools"]),
            Step("gateway-kinds", "Install the Gateway API", kinds, ["cluster", "gateway-tools"]),
        ]

    def _data_steps(self) -> list[Step]:
        """None, unless the site keeps images or records with what is built here."""
        settings = self._settings()
        wanted = data_tools(settings)

        def tools(log: Path, report: Report) -> None:
            for each in wanted:
                report(0.01, each.describe())
                each.build(log, report, self.choices.append)

        def images(log: Path, report: Report) -> None:
            found = data_images(settings, self.repository, lambda requirements: unpack_wheels(requirements, log))
            self._build_and_push(found, log, report)

        if not keeps_data(settings):
            return []
        return [
            Step("data-tools", "Take or build the records' database", tools),
            Step("data-images", "Build and push what keeps images and records", images, ["registry", "data-tools"]),
        ]

    def images(self) -> None:
        """Build and push what changed of the applications' images, and bring the site's program up; no machine is touched."""
        require_host()
        steps = [
            Step("app-images", "Build and push the applications' images", self._app_images),
            Step("site", "Bring the site program up", self._site, ["app-images"]),
        ]
        with self._lock():
            run_steps(steps, log_dir())

    def images_for(self, name: str) -> None:
        """Build and push what the site does not have unless it is asked for, and tell the site's program of it.

        Args:
            name: what it is called for, such as `desktop`.

        Raises:
            PrimageError: nothing is called so.
        """
        require_host()
        known = images_on_demand()
        if name not in known:
            raise PrimageError(
                f"no image is built for {name!r}",
                todo=f"name one of {', '.join(known)}, or leave the name out for what every site has",
                code=ExitCode.USAGE,
            )
        registry = site_registry(self._registry())
        before = known_references(registry)

        def tell(log: Path, report: Report) -> None:
            if known_references(registry) != before:
                self._site(log, report)

        build = Step(f"{name}-images", f"Build and push the images for {name}", partial(self._build_and_push, known[name]))
        with self._lock():
            run_steps([build, Step("site", "Bring the site program up", tell, [build.name])], log_dir())

    def down(self) -> None:
        """Remove machines, network, mounts and files; caches stay, and so does all that belongs to other sites."""
        require_host()
        with self._lock():
            if shutil.which("podman"):
                command, log = self._ansible("remove-local-site"), log_dir() / "down.log"
                run_logged(command, cwd=self.repository, log=log, timeout_s=PLAYBOOK_TIMEOUT_S, ends_with_us=True)
            remove_leftovers()
            steps = [*(step.name for step in self._steps()), *(f"{name}-images" for name in images_on_demand())]
            remove_files(SITE, [*(f"{name}.log" for name in steps), *OTHER_LOGS])

    def machines(self) -> list[dict[str, str]]:
        """The machines that are there: name, state, how long."""
        if not shutil.which("podman"):
            return []
        text = capture(
            ["podman", "ps", "--all", "--filter", "label=eu.primage.instance=primage-local", "--format", "json"],
            env=storage.environment(),
        )
        found: list[dict[str, Any]] = json.loads(text or "[]") or []
        return [{"name": m["Names"][0], "state": m["State"], "status": m["Status"]} for m in found]

    # -- steps -----------------------------------------------------------------------------------------------------

    def _packages(self, log: Path, report: Report) -> None:
        missing = [package for package, program in PACKAGES.items() if shutil.which(program) is None]
        if not missing:
            return
        report(0.1, f"installing {', '.join(missing)}")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run_logged(["apt-get", "update", "-qq"], env=quiet, log=log, timeout_s=APT_TIMEOUT_S)
        run_logged(
            ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing], env=quiet, log=log, timeout_s=APT_TIMEOUT_S
        )

    def _tools(self, log: Path, report: Report) -> None:
        for tools in (KUBERNETES_TOOLS, KUBE_ROUTER_TOOLS):
            report(0.01, tools.describe())
            tools.build(log, report, self.choices.append)

    def _base_images(self, log: Path, report: Report) -> None:
        storage.remove_archives()
        images = [base_image(), machine_image(self.repository)]
        ensure_images(images, repository=self.repository, log=log, on_progress=lambda what: report(0.3, what))

    def _libraries(self, log: Path, report: Report) -> None:
        report(0.1, "fetching wheels")
        for requirements in (
            AUTHORIZER_REQUIREMENTS,
            HPC_REQUIREMENTS,
            PORTAL_REQUIREMENTS,
            QUEUE_REQUIREMENTS,
            STUDY_REQUIREMENTS,
            NOTEBOOK_REQUIREMENTS,
        ):
            unpack_wheels(self.repository / requirements, log)

    def _kubernetes_images(self, log: Path, report: Report) -> None:
        self._build_and_push(
            [base_image(), *kubernetes_images(tools_dir()), kube_router_image(KUBE_ROUTER_TOOLS.directory)], log, report
        )

    def _app_images(self, log: Path, report: Report) -> None:
        self._build_and_push(app_images(self.repository, lambda requirements: unpack_wheels(requirements, log)), log, report)

    def _authority(self, _log: Path, _report: Report) -> None:
        """A hospital has one; this one is made once, and goes with the site."""
        from primage.components.certificates import new_authority

        folder = local_site_dir() / "authority"
        if not (folder / "ca.crt").exists():
            folder.mkdir(parents=True, exist_ok=True)
            new_authority("primage local site").write(folder)

    def _keycloak(self, log: Path, _report: Report) -> None:
        keycloak_distribution(log)

    def _login_images(self, log: Path, report: Report) -> None:
        self._build_and_push(login_images(self.repository, keycloak_distribution(log)), log, report)

    def _build_and_push(self, images: list[Image], log: Path, report: Report) -> None:
        ensure_images(images, repository=self.repository, log=log, on_progress=lambda what: report(0.3, what))
        push_images(images, site_registry(self._registry()), log=log, on_progress=lambda what: report(0.7, what))

    def _pull_study(self, log: Path, report: Report) -> None:
        """Nodes pull what they run when they run it; this one is a gigabyte, and the study's figures are not to be of that."""
        reference = known_references(site_registry(self._registry()))[STUDY]
        pull = ["ctr", "--namespace", "k8s.io", "images", "pull", "--hosts-dir", "/etc/containerd/certs.d", reference]
        for node in NODES:
            report(0.1, node)
            run_logged(["podman", "exec", node, *pull], env=storage.environment(), log=log, timeout_s=PULL_TIMEOUT_S)

    def _settings(self) -> dict[str, Any]:
        """The site's settings, as its file has them."""
        name = StackName(SITE)
        found = stack_config(project_of(name), name).get(SETTINGS)
        return found if isinstance(found, dict) else {}

    def _registry(self) -> str:
        """The registry's address, as the site's settings have it."""
        try:
            return str(self._settings()["images"]["registry"])
        except (LookupError, TypeError) as error:
            raise PrimageError(
                "the local site's settings do not say where its registry is",
                where=f"{project_of(StackName(SITE)).config_file(SITE)}, {SETTINGS}.images",
                todo="write `registry: 10.89.77.11:5000` there, the address of machine front",
                code=ExitCode.INVALID,
            ) from error

    def _playbook(self, name: str, variables: dict[str, Any] | None = None) -> Callable[[Path, Report], None]:
        def run(log: Path, report: Report) -> None:
            tasks = 0

            def follow(line: str) -> None:
                nonlocal tasks
                if line.startswith(("TASK [", "RUNNING HANDLER [")):
                    tasks += 1
                    report(min(0.95, tasks / 60), line.partition("[")[2].partition("]")[0])

            run_logged(
                self._ansible(name, variables),
                cwd=self.repository,
                log=log,
                timeout_s=PLAYBOOK_TIMEOUT_S,
                on_line=follow,
                # The lock on the site goes with this process, and the next one must not meet the playbook of this.
                ends_with_us=True,
            )

        return run

    def _cluster(self, log: Path, report: Report) -> None:
        references = known_references(site_registry(self._registry()))
        given = {"tools_directory": str(tools_dir()), "network_image": references[KUBE_ROUTER]}
        self._playbook("create-cluster", given)(log, report)

    def _site(self, log: Path, report: Report) -> None:
        from primage.engine.api import Options
        from primage.engine.choose import choose_engine, engine_of

        with log.open("a") as stream:

            def follow(event: Event) -> None:
                report(0.5, f"{event.label} {event.state}")
                print(event, file=stream)

            name = StackName(SITE)
            result = choose_engine(engine_of(name)).up(name, Options(listener=follow))
            print(json.dumps(result.as_dict(), default=str), file=stream)

    def push(self, image: str, name: str) -> str:
        """Push an image of this host's own store to the site's registry; returns the reference that settings may name.

        Args:
            name: what to call it there; empty for its own name.
        """
        return push_own(image, name, site_registry(self._registry()), log_dir() / "push.log")

    def _software(self, log: Path, _report: Report) -> None:
        """What an HPC centre would install for its users: the study's code and libraries, as hard links to the cache."""
        from primage.local.software import stage_study

        stage_study(self.repository, local_site_dir() / "software", log)

    def _hpc_login(self, log: Path, report: Report) -> None:
        from primage.local.hpc import connect

        connect(log, lambda what: report(0.5, what))

    def _ansible(self, playbook: str, variables: dict[str, Any] | None = None) -> list[str]:
        given = {"container_environment": storage.environment(), "podman_state": storage.RUN_TIME_STATE, **(variables or {})}
        return [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            INVENTORY,
            f"playbooks/{playbook}.yml",
            "-e",
            json.dumps({"ansible_playbook_python": sys.executable, **given}),
        ]

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One command at a time changes the local site; the system lets go when the process ends."""
        cache_dir().mkdir(parents=True, exist_ok=True)
        with (cache_dir() / "site.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise PrimageError(
                    "another process is changing the local site", todo="wait for it to end, then try again"
                ) from error
            yield


def local_site() -> LocalSite:
    """The local site, from the repository this is run in."""
    return LocalSite(repository_root())
