"""A second site's file, written from a few answers: valid as it stands, with a comment where a person has to decide."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from primage.errors import ExitCode, PrimageError

TEMPLATE = """\
# Site {name}. Every key is described in docs/reference/site-settings.md.
config:
  primage:site:
    description: {description}
    kind: {kind}

    # Where `primage` finds the cluster. playbooks/create-cluster.yml writes this file for clusters it makes.
    cluster:
      kubeconfig: {kubeconfig}

    # Registry with this project's images, which `primage/base:1` and the like are looked for in. `references` may name a file that
    # says by which digest each goes.
    images:
      registry: {registry}

    # Folders that every node has mounted under the same path (CephFS, NFS, Lustre). Each VO gets its own below them.
    volumes:
      datalake: {{path: {datalake}, capacity: 1Ti}}
      home: {{path: {home}, capacity: 100Gi}}

    # Who goes first when there is more to do than room. The names must be new on the cluster.
    # priority_classes:
    #   - {{name: batch, value: 100, default: true, description: Everything}}

    # HPC centres that jobs may be carried to, and the API servers' networks, which the connector of jobs must reach: see
    # docs/how-to/connect-an-hpc-centre.md.
    # hpc:
    #   backends:
    #     - {{name: centre, endpoint: login.example.org, networks: [192.0.2.0/28], vos: [{vo}]}}
    # network:
    #   api_servers: [198.51.100.10/32]

    vos:
      - name: {vo}
        # POSIX group of the VO's folders; the same on every site that serves the VO.
        gid: {gid}
        quota: {{cpu: "8", memory: 16Gi, pods: 60, jobs: 300}}
"""


@dataclass(frozen=True)
class NewSite:
    """What a person says of the site; the rest is in the file it becomes."""

    name: str
    vo: str
    gid: int
    kind: str
    kubeconfig: str
    datalake: str
    home: str
    registry: str

    def text(self) -> str:
        """The site's file. Texts are written as JSON, which YAML reads as they are."""
        quoted = {key: json.dumps(getattr(self, key)) for key in ("kind", "kubeconfig", "datalake", "home", "vo", "registry")}
        return TEMPLATE.format(
            name=self.name,
            gid=self.gid,
            description=json.dumps(f"The site {self.name}"),
            **{
                key: text.strip('"') if re.fullmatch(r'"[A-Za-z0-9/._:-]*[A-Za-z0-9/._-]"', text) else text
                for key, text in quoted.items()
            },
        )


def write_site(repository: Path, site: NewSite) -> Path:
    """Write `Pulumi.<name>.yaml`; it is checked as any other, and not kept if it is not valid.

    Raises:
        PrimageError: there is such a file already, or an answer is not valid.
    """
    from primage.projects.project import parse_stack_name
    from primage.projects.validation import validate_repository

    parse_stack_name(site.name)
    path = repository / f"Pulumi.{site.name}.yaml"
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(site.text())
    except FileExistsError as error:
        raise PrimageError(
            f"there is a site {site.name} already",
            where=str(path),
            todo="choose another name, or edit that file",
            code=ExitCode.INVALID,
        ) from error
    _, problems = validate_repository(repository, [site.name])
    if problems:
        path.unlink()
        raise PrimageError(
            "the site's file would not be valid:\n  " + "\n  ".join(f"{p.field}: {p.message}" for p in problems) + "\n",
            todo="correct what you gave; no file was written",
            code=ExitCode.INVALID,
        )
    return path
