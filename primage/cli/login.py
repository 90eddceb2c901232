"""`primage login` and `primage logout`: being somebody on a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primage.cli.output import Json, console, print_json

Site = Annotated[str, typer.Argument(metavar="SITE", help="A site, such as local.")]


def login(
    site: Site,
    device: Annotated[
        bool,
        typer.Option("--device/--browser", help="Log in with a browser of another machine, by a code, in place of this one's."),
    ] = False,
    json: Json = False,
) -> None:
    """Log in to a site as a member of a virtual organisation, with your institution's account.

    It writes a kubeconfig that renews itself: for kubectl, and for primage if you do not have the operators' one.

    Example: `primage login local`
    """
    from primage.operations.login import log_in

    logged_in = log_in(site, device=device, say=lambda text: console(stderr=True).print(text, markup=False))
    if json:
        print_json(logged_in.as_dict())
        return
    console().print(f"You are {logged_in.identity} on site {site}.", markup=False)
    console().print(f"  export KUBECONFIG={logged_in.kubeconfig}", markup=False)


def logout(site: Site, json: Json = False) -> None:
    """End your login to a site: the identity provider forgets it, and its files go.

    Example: `primage logout local`
    """
    from primage.operations.login import log_out

    was = log_out(site)
    if json:
        print_json({"site": site, "logged_out": was})
    else:
        console().print(
            f"You are logged out of site {site}; a browser that you logged in with may still know you."
            if was
            else f"You were not logged in to site {site}."
        )


def credential(file: Annotated[Path, typer.Argument(metavar="FILE", help="The file that `primage login` wrote.")]) -> None:
    """Print a token for kubectl, which calls this by itself."""
    from primage.operations.login import exec_credential

    print_json(exec_credential(file))
