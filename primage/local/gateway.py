"""The local site's gateway: what of it is built, and the kinds of object that it works by.

A site of one's own has official images, and its operators install the Gateway API (docs/how-to/let-sessions-open-in-a-browser.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from primage.contract import gateway_api
from primage.contract.gateway import ContourConfig, GatewayConfig
from primage.local.images.catalogue import ENVOY_REQUIREMENTS, Image, contour_images, proxy_image
from primage.local.images.wheels import unpack_wheels
from primage.local.toolchain.build import (
    CONTOUR_KINDS,
    CONTOUR_TOOLS,
    GATEWAY_KINDS,
    OAUTH2_PROXY_TOOLS,
    ToolSet,
    tools_dir,
)
from primage.paths import local_site_dir
from primage.process import run_logged

KINDS = {
    GATEWAY_KINDS: tuple(kind.resources for kind in gateway_api.READ),
    CONTOUR_KINDS: ("httpproxies", "tlscertificatedelegations"),
}
"""What Contour reads whatever it is told, by the document that defines it; of other kinds nobody has use, so nobody gets any."""
TIMEOUT_S = 120


def gateway_of(settings: dict[str, Any]) -> GatewayConfig | None:
    """What the site's settings say of a gateway; nothing where that is not whole, which the site's program says better."""
    login = settings.get("login")
    try:
        return GatewayConfig.model_validate(login["gateway"]) if isinstance(login, dict) and login.get("gateway") else None
    except ValidationError:
        return None


def gateway_tools(gateway: GatewayConfig) -> list[ToolSet]:
    """What is built for it."""
    return [OAUTH2_PROXY_TOOLS, *([CONTOUR_TOOLS] if isinstance(gateway.controller, ContourConfig) else [])]


def gateway_images(gateway: GatewayConfig, repository: Path, log: Path) -> list[Image]:
    """The images that it runs, of what has been built."""
    images = [proxy_image(OAUTH2_PROXY_TOOLS.directory)]
    if isinstance(gateway.controller, ContourConfig):
        images += contour_images(CONTOUR_TOOLS.directory, unpack_wheels(repository / ENVOY_REQUIREMENTS, log))
    return images


def install_kinds(gateway: GatewayConfig, log: Path, kubeconfig: str = "") -> None:
    """Have a cluster know the kinds, and wait until it does.

    Args:
        kubeconfig: of that cluster; empty for the local site's.
    """
    if not isinstance(gateway.controller, ContourConfig):
        return
    kubectl = [str(tools_dir() / "kubectl"), f"--kubeconfig={kubeconfig or local_site_dir() / 'kubeconfig'}"]
    chosen = "\n---\n".join(
        document
        for file, kinds in KINDS.items()
        for document in (CONTOUR_TOOLS.directory / file).read_text(encoding="utf-8").split("\n---\n")
        if any(f"\n  name: {kind}." in document for kind in kinds)
    )
    applied = ["apply", "--server-side", "--force-conflicts", "--field-manager=primage", "--filename=-"]
    run_logged([*kubectl, *applied], log=log, timeout_s=TIMEOUT_S, stdin=chosen.encode())
    waited = ["wait", "--for=condition=Established", f"--timeout={TIMEOUT_S}s", "--filename=-"]
    run_logged([*kubectl, *waited], log=log, timeout_s=TIMEOUT_S + 10, stdin=chosen.encode())
