"""`primage hpc login`: the credentials that an HPC centre gave a VO or one of its members."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primage.cli.output import Json, console, print_json

app = typer.Typer(no_args_is_help=True, help="HPC (high-performance computing) centres.")


@app.callback()
def _group() -> None:
    """Keeps this a group though it has one command: `primage hpc login`."""


@app.command("login")
def login(
    site: Annotated[str, typer.Argument(metavar="SITE", help="A site, such as local.")],
    vo: Annotated[str, typer.Option("--vo", help="The VO whose jobs go there.")],
    backend: Annotated[str, typer.Option("--backend", help="Name of the backend in the site's file.")],
    user: Annotated[str, typer.Option("--user", help="The account that jobs run as.")],
    key: Annotated[Path, typer.Option("--key", help="File with the private key.")],
    known_hosts: Annotated[Path, typer.Option("--known-hosts", help="File with the login node's host keys, from the centre.")],
    member: Annotated[str, typer.Option("--member", help="The member they are for (name@domain.tld); by default the VO.")] = "",
    certificate: Annotated[Path | None, typer.Option("--certificate", help="OpenSSH certificate of the key.")] = None,
    proxy: Annotated[Path | None, typer.Option("--proxy", help="Grid proxy credential, PEM.")] = None,
    token: Annotated[Path | None, typer.Option("--token", help="File with the token for slurmrestd.")] = None,
    authority: Annotated[Path | None, typer.Option("--authority", help="Certificate authority of slurmrestd, PEM.")] = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Try to log in from this machine first.")] = True,
    json: Json = False,
) -> None:
    """Give a VO's or a member's connector the credentials for an HPC centre, or renew them; a running connector uses them at once.

    Example: `primage hpc login cyfronet --vo vo.primage.eu --backend prometheus --user plg --key key --known-hosts hosts`
    """
    from primage.operations.hpc_login import Login
    from primage.operations.hpc_login import login as log_in

    said = log_in(site, vo, backend, Login(user, key, known_hosts, certificate, proxy, token, authority), member=member, test=test)
    if json:
        print_json({"site": site, "vo": vo, "member": member, "backend": backend, "user": user, "said": said.splitlines()})
    else:
        console().print(f"{member or vo} logs in at {backend} as {user}: {', '.join(said.splitlines())}")
