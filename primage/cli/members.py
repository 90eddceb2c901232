"""`primage members`: who is in a virtual organisation, for those who administer it; and `primage join` and `primage leave`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from primage.cli.output import Json, console, line, print_json

if TYPE_CHECKING:
    from primage.contract.memberships import Verdict
    from primage.operations.memberships import Standing
    from primage.operations.people import People

app = typer.Typer(no_args_is_help=True, help="Who is in a virtual organisation (VO), for those who administer it.")
Site = Annotated[str, typer.Argument(metavar="SITE", help="A site, such as local.")]
Vo = Annotated[str, typer.Argument(metavar="VO", help="A virtual organisation that it serves, such as vo.primage.eu.")]
Whom = Annotated[str, typer.Argument(metavar="IDENTITY", help="A person, such as ada@example.org.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="A role; more than once for more.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; they and the audit log are told.")]


@app.command("list")
def list_all(
    site: Site,
    vo: Annotated[str, typer.Argument(metavar="[VO]", help="Only this virtual organisation.")] = "",
    json: Json = False,
) -> None:
    """Show who is a member by which roles, and who asks to be.

    Example: `primage members list local`
    """
    from primage.operations.people import people_of
    from primage.operations.site import site_handle

    handle = site_handle(site)
    found = {one: people_of(handle.cluster, one) for one in ([vo] if vo and handle.place(vo) else handle.outputs.vos)}
    if json:
        print_json({one: _document(people) for one, people in found.items()})
        return
    for one, people in found.items():
        _show(one, people)


@app.command("approve")
def approve(site: Site, vo: Vo, identity: Whom, role: Roles = None, reason: Reason = "", json: Json = False) -> None:
    """Make somebody a member who asks to be, with these roles, or those that they ask for.

    Example: `primage members approve local vo.primage.eu ada@example.org --role researcher`
    """
    from primage.contract.memberships import Verdict

    _decide(site, vo, identity, Verdict.APPROVE, role, reason, json=json)


@app.command("refuse")
def refuse(site: Site, vo: Vo, identity: Whom, reason: Reason = "", json: Json = False) -> None:
    """Refuse somebody who asks to be a member; they are told the reason.

    Example: `primage members refuse local vo.primage.eu ada@example.org --reason "ask your own hospital's VO"`
    """
    from primage.contract.memberships import Verdict

    _decide(site, vo, identity, Verdict.REFUSE, None, reason, json=json)


@app.command("change")
def change(site: Site, vo: Vo, identity: Whom, role: Roles = None, reason: Reason = "", json: Json = False) -> None:
    """Change a member's roles: those named are all that they have from now on.

    Example: `primage members change local vo.primage.eu ada@example.org --role researcher --role developer`
    """
    from primage.contract.memberships import Verdict

    _decide(site, vo, identity, Verdict.CHANGE, role, reason, json=json)


@app.command("remove")
def remove(site: Site, vo: Vo, identity: Whom, reason: Reason = "", json: Json = False) -> None:
    """Take a member out of the VO: rights go and jobs are suspended, files stay.

    Example: `primage members remove local vo.primage.eu ada@example.org`
    """
    from primage.contract.memberships import Verdict

    _decide(site, vo, identity, Verdict.REMOVE, None, reason, json=json)


def join(
    site: Site,
    vo: Vo,
    role: Roles = None,
    message: Annotated[str, typer.Option("--message", help="What its administrators should know of you.")] = "",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take your request back.")] = False,
    json: Json = False,
) -> None:
    """Ask to join a virtual organisation, with these roles; without any, show how your request stands.

    Example: `primage join local vo.primage.eu --role researcher --message "I work with Bob"`
    """
    from primage.operations import memberships
    from primage.operations.site import site_handle

    handle = site_handle(site)
    handle.place(vo)
    me = memberships.who_is(handle.cluster)
    if withdraw:
        memberships.withdraw(handle.cluster, vo, me)
    elif role:
        memberships.ask_to_join(handle.cluster, vo, me, tuple(role), message)
    _tell(memberships.own_request(handle.cluster, vo, me), vo, json=json)


def leave(
    site: Site,
    vo: Vo,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether you mean it.")] = False,
    json: Json = False,
) -> None:
    """Leave a virtual organisation: your rights go and your jobs are suspended, your files stay.

    Example: `primage leave local vo.primage.eu`
    """
    from primage.operations import memberships
    from primage.operations.site import site_handle

    handle = site_handle(site)
    handle.place(vo)
    me = memberships.who_is(handle.cluster)
    if not yes:
        typer.confirm(f"Leave {vo}? Your rights end at once. Your namespace and files stay", abort=True)
    _tell(memberships.leave(handle.cluster, vo, me), vo, json=json)


def _decide(site: str, vo: str, identity: str, verdict: Verdict, roles: list[str] | None, reason: str, *, json: bool) -> None:
    from primage.contract.memberships import Verdict
    from primage.operations import memberships
    from primage.operations.site import site_handle

    handle = site_handle(site)
    handle.place(vo)
    me = memberships.who_is(handle.cluster)
    given = tuple(roles or ())
    if verdict is Verdict.APPROVE and not given and (asked := memberships.request_by(handle.cluster, vo, identity)):
        given = asked.roles
    done = memberships.decide(handle.cluster, vo, identity, verdict, by=me, roles=given, reason=reason)
    _tell(done, vo, json=json)


def _tell(found: Standing | None, vo: str, *, json: bool) -> None:
    if json:
        print_json(found.as_dict() if found else None)
    elif found is None:
        console().print(f"You do not ask for anything in {vo}.")
    else:
        console().print(line(_said(found, vo)))


def _said(found: Standing, vo: str) -> str:
    roles = f" as {', '.join(found.roles)}" if found.roles else ""
    by = f" by {found.by}" if found.by else ""
    why = found.problem or found.reason
    return f"{found.identity}: {found.asks} {vo}{roles}: {found.state}{by}{f' ({why})' if why else ''}"


def _document(people: People) -> dict[str, Any]:
    return {
        "members": [one.as_dict() for one in people.members],
        "requests": [one.as_dict() for one in people.requests],
        "decisions": [one.as_dict() for one in people.decisions],
        "more": list(people.more),
    }


def _show(vo: str, people: People) -> None:
    from rich.table import Column, Table

    out = console()
    out.print(f"{vo}:")
    members = Table(*(Column(head, overflow="fold") for head in ("member", "roles", "state", "what is wrong")), box=None)
    for one in people.members:
        members.add_row(*map(line, (one.identity, ", ".join(one.roles) or "none", one.phase, one.problem)))
    if people.members:
        out.print(members)
    requests = Table(*(Column(head, overflow="fold") for head in ("request", "asks", "roles", "state", "says")), box=None)
    for other in people.requests:
        said = other.problem or other.says
        requests.add_row(*map(line, (other.identity, other.asks, ", ".join(other.roles), other.state, said)))
    if people.requests:
        out.print(requests)
    for what in people.more:
        console(stderr=True).print(f"there are more {what} than are shown: `kubectl get {what}` lists all")
