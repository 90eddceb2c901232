"""What podman and netavark leave on the host: chains once the last network is gone, and all of a network whose
containers died behind their back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

from primage.errors import PrimageError
from primage.process import capture

SUBNET, INSTANCE = "10.89.77.", "primage-local"
LEASES = Path("/run/containers/networks/ipam.db")
"""Podman's record of addresses, one for all stores; on most hosts a reboot clears it."""
HOOKS = (
    ("filter", "FORWARD", "NETAVARK_FORWARD"),
    ("nat", "PREROUTING", "NETAVARK-HOSTPORT-DNAT"),
    ("nat", "OUTPUT", "NETAVARK-HOSTPORT-DNAT"),
    ("nat", "POSTROUTING", "NETAVARK-HOSTPORT-MASQ"),
)


def remove_leftovers() -> None:
    """Remove them; what belongs to other networks of the host stays."""
    if shutil.which("ip"):
        _remove_namespaces()
        _remove_links()
    if shutil.which("iptables"):
        _remove_rules()
        for table, hook, chain in HOOKS:
            _drop_chain(table, hook, chain)
        _quiet("iptables", "-t", "nat", "-F", "NETAVARK-HOSTPORT-SETMARK")
        _quiet("iptables", "-t", "nat", "-X", "NETAVARK-HOSTPORT-SETMARK")
    if not _podman_runs():
        # Addresses lent to containers that died are never given back, not even with their network.
        LEASES.unlink(missing_ok=True)


def _podman_runs() -> bool:
    """Whether any podman on this host has a container running: each has a monitor."""
    return any(path.read_text().strip() == "conmon" for path in Path("/proc").glob("[0-9]*/comm") if path.exists())


def _remove_links() -> None:
    """The bridge with the site's address, and the cables still plugged into it."""
    for link in json.loads(_quiet("ip", "-json", "-4", "addr") or "[]"):
        if any(address.get("local", "").startswith(SUBNET) for address in link.get("addr_info", [])):
            name = str(link["ifname"])
            ports = Path(f"/sys/class/net/{name}/brif")
            for port in [*(path.name for path in ports.glob("*")), name]:
                _quiet("ip", "link", "delete", port)


def _remove_namespaces() -> None:
    """Network namespaces podman keeps mounted for containers that no longer exist."""
    for path in Path("/run/netns").glob("netns-*"):
        mounted = os.path.ismount(path)  # Path.is_mount knows folders only
        if mounted and SUBNET not in _quiet("nsenter", f"--net={path}", "ip", "-4", "addr"):
            continue
        if mounted:
            _quiet("umount", str(path))
        path.unlink(missing_ok=True)


def _remove_rules() -> None:
    """Rules about the site's addresses, and the chains made for its network."""
    for table in ("filter", "nat"):
        rules = _quiet("iptables", "-t", table, "-S").splitlines()
        own = [rule for rule in rules if rule.startswith("-A ") and (f"{SUBNET}0/24" in rule or f"--comment {INSTANCE} " in rule)]
        for rule in own:
            _quiet("iptables", "-t", table, "-D", *shlex.split(rule)[1:])
        for chain in {word for rule in own for word in rule.split() if word.startswith("NETAVARK-") and "HOSTPORT" not in word}:
            _quiet("iptables", "-t", table, "-F", chain)
            _quiet("iptables", "-t", table, "-X", chain)


def _drop_chain(table: str, hook: str, chain: str) -> None:
    """Remove a chain and the jump to it, unless something of somebody else's is still in it."""
    rules = _quiet("iptables", "-t", table, "-S").splitlines()
    ours = ("primage", "netavark portfw masq mark")
    inside = [rule for rule in rules if rule.startswith(f"-A {chain} ") and not any(word in rule for word in ours)]
    if inside:
        return
    for rule in rules:
        if rule.startswith(f"-A {hook} ") and rule.endswith(f"-j {chain}"):
            _quiet("iptables", "-t", table, "-D", *shlex.split(rule)[1:])
    _quiet("iptables", "-t", table, "-F", chain)
    _quiet("iptables", "-t", table, "-X", chain)


def _quiet(*command: str) -> str:
    try:
        return capture(list(command), timeout_s=20)
    except PrimageError:
        return ""
