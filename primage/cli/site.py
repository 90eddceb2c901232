"""`primage site new`, `primage site local up|status|down`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from primage.cli.output import Json, console, print_json

app = typer.Typer(no_args_is_help=True, help="Write a new site's file; run the local site.")
local = typer.Typer(no_args_is_help=True, help="The local site: a whole site on this machine, in podman machines.")
app.add_typer(local, name="local")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the site: lower-case letters, digits and dashes.")],
    vo: Annotated[str, typer.Option(help="The first VO it serves, by its name in the identity provider.")] = "vo.example.org",
    gid: Annotated[int, typer.Option(help="POSIX group of the VO's folders; the same number on every site.")] = 20001,
    kind: Annotated[str, typer.Option(help="local, on-premises or public-cloud.")] = "on-premises",
    kubeconfig: Annotated[str, typer.Option(help="Kubeconfig of its operators; empty for KUBECONFIG or ~/.kube/config.")] = "",
    datalake: Annotated[str, typer.Option(help="Folder on every node for images.")] = "/srv/primage/datalake",
    home: Annotated[str, typer.Option(help="Folder on every node for people's files.")] = "/srv/primage/home",
    registry: Annotated[str, typer.Option(help="Registry with this project's images: host, and port where it is not 443.")] = (
        "registry.example.org"
    ),
    json: Json = False,
) -> None:
    """Write the file of a new site; it is valid as written.

    Example: `primage site new mysite --vo vo.primage.eu --gid 20001 --kubeconfig /etc/primage/mysite.kubeconfig`
    """
    from primage.operations.new_site import NewSite, write_site
    from primage.paths import repository_root

    path = write_site(repository_root(), NewSite(name, vo, gid, kind, kubeconfig, datalake, home, registry))
    if json:
        print_json({"site": name, "file": str(path)})
    else:
        console().print(f"Wrote {path.name}. Next: read it, then `primage preview {name}` and `primage up {name}`.")


@local.command()
def up(json: Json = False) -> None:
    """Start the local site, or update a running one. Needs root.

    Example: `primage site local up`
    """
    from primage.local.site import local_site
    from primage.paths import log_dir

    started = time.monotonic()
    site = local_site()
    site.up()
    seconds = round(time.monotonic() - started, 1)
    if json:
        print_json({"site": "local", "seconds": seconds, "logs": str(log_dir()), "tools": site.choices})
    else:
        for choice in site.choices:
            console().print(choice, highlight=False)
        console().print(f"The local site is up ({seconds} s). Logs: {log_dir()}")


@local.command()
def images(
    name: Annotated[str, typer.Argument(help="What no site has unless it is asked for: desktop. Empty for the others.")] = "",
    json: Json = False,
) -> None:
    """Build and push the images whose sources changed, and roll them out on the standing site: seconds after a changed line.

    With a name, build and push what that application runs and is too large for every site to have.

    Example: `primage site local images`
    """
    from primage.local.site import local_site
    from primage.paths import log_dir

    started = time.monotonic()
    if name:
        local_site().images_for(name)
    else:
        local_site().images()
    seconds = round(time.monotonic() - started, 1)
    if json:
        print_json({"site": "local", "seconds": seconds, "logs": str(log_dir())})
    elif name:
        console().print(f"The local site's registry has what {name} runs ({seconds} s). Applications take it with `primage up`.")
    else:
        console().print(f"The local site runs these sources ({seconds} s). Applications take them with their next `primage up`.")


@local.command()
def push(
    image: Annotated[str, typer.Argument(help="Image in this host's own store, built by podman or buildah: localhost/segment:3.")],
    called: Annotated[str, typer.Option("--as", help="What to call it in the registry; empty for its own name.")] = "",
    json: Json = False,
) -> None:
    """Push an image of your own to the local site's registry, and say how settings name it.

    Example: `primage site local push localhost/segment:3`
    """
    from primage.local.site import local_site

    reference = local_site().push(image, called)
    if json:
        print_json({"image": image, "reference": reference})
    else:
        console().print(f"Pushed. Name it so in your settings:\n  image: {reference}", highlight=False, soft_wrap=True)


@local.command()
def releases() -> None:
    """List the official release files that stand in for compiling, by URL: what a mirror holds.

    Example: `primage site local releases | wget --force-directories --input-file=-`
    """
    from primage.local.toolchain.official import RELEASES

    for release in RELEASES.values():
        typer.echo(f"https://{release.place}")


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
    console().print(table if machines else "The local site is down: it has no machines.")


@local.command()
def down(json: Json = False) -> None:
    """Remove the local site: machines, network, mounts, files, and what users stored in its HOME. Caches stay.

    Example: `primage site local down`
    """
    from primage.local.site import local_site

    local_site().down()
    print_json({"site": "local", "removed": True}) if json else console().print("The local site is removed; caches stay.")
