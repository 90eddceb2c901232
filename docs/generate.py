"""Generate docs/reference from the code; `--check` only says whether it would change (tests/unit/test_docs.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from primage.contract.roles import RIGHTS
from primage.errors import ExitCode
from primage.projects.project import all_projects
from primage.projects.validation import load_models

HERE = Path(__file__).parent
NOTE = "<!-- Written by `make docs` from the code; edit that. -->\n\n"


def settings_page(title: str, intro: str, models: dict[str, type[BaseModel]], project: str) -> str:
    """Every field of a settings model: type, default, meaning."""
    text = f"# {title}\n\n{NOTE}{intro}\n"
    for setting, model in models.items():
        text += f"\n## `{project}:{setting}`\n\n"
        schema = model.model_json_schema()
        text += _table(schema)
        for name, part in sorted(schema.get("$defs", {}).items()):
            if part.get("properties"):
                text += f"\n### {name}\n\n{part.get('description', '').splitlines()[0]}\n\n{_table(part)}"
    return text


def _table(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in sorted(schema["properties"].items(), key=lambda item: item[0] not in required):
        rows.append(f"| `{name}` | {_type(field)} | {_default(field, name in required)} | {field.get('description', '')} |")
    return "\n".join(rows) + "\n"


def _default(field: dict[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    return "see below" if isinstance(field.get("default"), dict) else f"`{field.get('default')!r}`"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[-1]
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    for key in ("anyOf", "allOf", "oneOf"):
        if key in field:
            return " or ".join(_type(part) for part in field[key])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    if field.get("type") == "object" and "additionalProperties" in field:
        return f"mapping to {_type(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def commands_page() -> str:
    """Every command with its options, as `--help` has them."""
    from primage.cli.root import app

    text = (
        f"# Commands\n\n{NOTE}Options are those of `--help`. Every command takes `--debug`: a traceback in place of a paragraph.\n"
    )

    def walk(command: Any, path: str) -> None:
        nonlocal text
        if hasattr(command, "commands"):
            for name, child in command.commands.items():
                if not child.hidden:
                    walk(child, f"{path} {name}")
            return
        arguments = " ".join(p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument")
        text += f"\n## `{path}{' ' + arguments if arguments else ''}`\n\n{(command.help or '').strip()}\n\n"
        for param in command.params:
            if param.param_type_name == "option" and param.name != "help":
                text += f"- `{', '.join(param.opts)}`: {param.help or ''}\n"

    walk(typer.main.get_command(app), "primage")
    return text


def exit_codes_page() -> str:
    """What the process's exit status means."""
    meanings = {
        ExitCode.OK: "done, or nothing to do",
        ExitCode.FAILED: "tried, and did not succeed",
        ExitCode.USAGE: "the command line itself was wrong",
        ExitCode.INVALID: "settings were refused before anything was touched",
        ExitCode.UNREACHABLE: "a server or machine did not answer; trying again may help",
        ExitCode.CHECK_FAILED: "`primage check` ran, and something does not hold",
        ExitCode.UNSUPPORTED: "this machine, or this engine, cannot do what was asked",
        ExitCode.DEFECT: "a defect in primage; `--debug` shows where",
    }
    rows = "\n".join(f"| {int(code)} | `{code.name}` | {meanings[code]} |" for code in ExitCode)
    return (
        f"# Exit codes\n\n{NOTE}| code | name | meaning |\n| --- | --- | --- |\n{rows}\n| 130 | | interrupted from the keyboard |\n"
    )


def roles_page() -> str:
    """What each role may do."""
    rows = "\n".join(f"| `{role}` | {found.says} | `{found.own}` | `{found.shared}` |" for role, found in RIGHTS.items())
    return (
        f"# Roles\n\n{NOTE}What people may be in a virtual organisation (VO): `users[].roles` in a site's file. "
        "A person may have several; the widest of their rights holds. "
        "Someone without a role keeps namespace and files, and may do nothing.\n\n"
        "| role | who it is for | in their own namespace | in the VO's |\n| --- | --- | --- | --- |\n"
        f"{rows}\n\n`edit` and `view` are Kubernetes' own roles, within what "
        "[admission](../adr/0016-admission-ties-pods-to-their-namespace.md) allows: `edit` runs things and sees all of them, "
        "`view` sees what there is and no secrets. Where sessions open in a browser, their routes are part of both.\n"
    )


def pages(repository: Path) -> dict[str, str]:
    """Every generated page by file name."""
    found = {"commands.md": commands_page(), "exit-codes.md": exit_codes_page(), "roles.md": roles_page()}
    for project in all_projects(repository):
        models = load_models(project)
        if project.name == "primage":
            intro = "What `Pulumi.<site>.yaml` holds. `primage validate` refuses unknown keys, placeholders and duplicates."
            found["site-settings.md"] = settings_page("Site settings", intro, models, project.name)
        else:
            app = project.folder.name
            intro = f"What `apps/{app}/Pulumi.<vo>.<site>.yaml` holds."
            found[f"app-{app}-settings.md"] = settings_page(f"Settings of app {app}", intro, models, project.name)
    return found


def main() -> int:
    """Write the pages, or with `--check` name those that differ."""
    differing = []
    for name, text in pages(HERE.parent).items():
        path = HERE / "reference" / name
        if not path.exists() or path.read_text() != text:
            differing.append(name)
            if "--check" not in sys.argv:
                path.write_text(text)
    if "--check" in sys.argv and differing:
        print(f"docs/reference is behind the code: {', '.join(differing)}. Run `make docs`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
