"""`primage site local up|status|down`."""

from __future__ import annotations

import time

import typer

from primage.cli.output import Json, console, print_json

app = typer.Typer(no_args_is_help=True, help="Sites on this machine.")
local = typer.Typer(no_args_is_help=True, help="The local site: a whole site on this machine, in podman machines.")
app.add_typer(local, name="local")


@local.command()
def up(json: Json = False) -> None:
    """Stand the local site up, or bring a standing one in line. Needs root.

    Example: `primage site local up`
    """
    from primage.local.site import local_site
    from primage.paths import log_dir

    started = time.monotonic()
    local_site().up()
    seconds = round(time.monotonic() - started, 1)
    if json:
        print_json({"site": "local", "seconds": seconds, "logs": str(log_dir())})
    else:
        console().print(f"The local site is up ({seconds} s). Logs: {log_dir()}")


@local.command()
def status(json: Json = False) -> None:
    """Show the machines of the local site.

    Example: `primage site local status`
    """
    from rich.table import Table

    from primage.local.site import local_site

    machines = local_site().machines()
    if json:
        print_json({"machines": machines})
        return
    table = Table("machine", "state", "since", box=None)
    for machine in machines:
        table.add_row(machine["name"], machine["state"], machine["status"])
    console().print(table if machines else "The local site is down: no machine is there.")


@local.command()
def down(json: Json = False) -> None:
    """Remove the local site: machines, network, mounts, files, and what users stored in its HOME. Caches stay.

    Example: `primage site local down`
    """
    from primage.local.site import local_site

    local_site().down()
    print_json({"site": "local", "removed": True}) if json else console().print("The local site is removed; caches stay.")
