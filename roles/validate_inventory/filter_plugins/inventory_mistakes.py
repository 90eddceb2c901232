"""What is wrong with an inventory: every mistake of it, each with what to write instead."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

EXAMPLE = "playbooks/inventories/example.yml"
NODE_PREFIX = 24
"""Every node gets a network of this size of the pods' (kube-controller-manager's --node-cidr-mask-size)."""
WIDEST, NARROWEST = 8, NODE_PREFIX - 1
MISSPELT = 0.85
"""From this likeness on (difflib's ratio, 0 to 1), one name is taken for a misspelling of the other."""


def inventory_mistakes(inventory: Mapping[str, Any]) -> list[str]:
    """The mistakes, as sentences.

    Args:
        inventory: the groups `control_plane`, `workers` and `cluster` as lists of hosts; `variables` as the plays need them, empty
            where the inventory does not set one; `optional`, names of those it may set, and `given`, names of all it sets;
            `addresses` from host to address; `version`; `service_subnet`; `tools`, a folder, `missing_tools`, those it does not
            have, and `tool_versions`, what those it has say of their version.
    """
    return [
        *_groups(inventory["control_plane"], inventory["workers"], inventory["cluster"]),
        *_hosts([*inventory["control_plane"], *inventory["workers"]], inventory["addresses"]),
        *_variables(inventory["variables"], inventory["version"]),
        *_misspelt(inventory["variables"], inventory["optional"], inventory["given"]),
        *_networks(inventory["variables"].get("pod_subnet"), inventory["service_subnet"], inventory["addresses"]),
        *_tools(inventory["tools"], inventory["missing_tools"], inventory["tool_versions"], inventory["version"]),
    ]


def _groups(control_plane: Sequence[str], workers: Sequence[str], cluster: Sequence[str]) -> Iterator[str]:
    if not cluster:
        yield (
            "The inventory has no group cluster, which the plays run on. Make control_plane and workers its children, as in "
            f"{EXAMPLE}."
        )
    elif difference := sorted({*control_plane, *workers} ^ {*cluster}):
        yield (
            f"The group cluster must hold the groups control_plane and workers, and nothing else. The difference is "
            f"{', '.join(difference)}. Make both its children, as in {EXAMPLE}."
        )
    if len(control_plane) != 1:
        yield f"The group control_plane has {len(control_plane)} hosts and must have one."
    if both := sorted({*control_plane} & {*workers}):
        yield f"{', '.join(both)} is in control_plane and in workers. Remove it from one of them."


def _hosts(hosts: Sequence[str], addresses: Mapping[str, str]) -> Iterator[str]:
    for host in sorted({*hosts}):
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", host):
            yield f"Host {host} cannot be a node name (lower-case letters, digits and hyphens, at most 63). Rename it."
    sharing = defaultdict(list)
    for host, address in addresses.items():
        sharing[address].append(host)
    for address, those in sharing.items():
        if address and len(those) > 1:
            yield f"{' and '.join(sorted(those))} have the same ansible_host, {address}. Write each machine's own."


def _variables(variables: Mapping[str, Any], version: str) -> Iterator[str]:
    missing = [name for name, value in variables.items() if value in ("", None)]
    if missing:
        yield f"The inventory does not set {', '.join(missing)}. {EXAMPLE} shows and explains each of them."
    site = variables.get("site")
    if site and not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", str(site)):
        yield f"site is {site}; write the site's name as its file has it: lower-case letters, digits and hyphens, at most 40."
    if version and not re.fullmatch(r"v1\.[0-9]+\.[0-9]+", version):
        yield f"kubernetes_version is {version}; write a full version such as v1.36.3."
    file = variables.get("kubeconfig_file")
    if file and not str(file).startswith(("/", "~")):
        yield f"kubeconfig_file is {file}; write its whole path, such as /etc/primage/mysite.kubeconfig."
    image = str(variables.get("network_image") or "none")
    if image != "none" and not re.search(r"@sha256:[0-9a-f]{64}$", image):
        yield f"network_image is {image}; name it by digest: …/kube-router@sha256: and the 64 digits that the push prints."
    if re.search(r"@sha256:0{64}$", image):
        yield (
            "network_image still has the example's digest. Push images/kube-router to your registry and write the digest that the "
            "push prints."
        )


def _misspelt(variables: Mapping[str, Any], optional: Sequence[str], given: Sequence[str]) -> Iterator[str]:
    """A name close to one that the plays read and the inventory does not set: the plays would ignore it."""
    known = {*variables, *optional}
    unset = sorted(name for name in known if name not in given)
    for name in sorted({*given} - known):
        for meant in difflib.get_close_matches(name, unset, 1, MISSPELT):
            yield f"The inventory sets {name}, which the plays do not read. If you mean {meant}, write that."


def _networks(pods: str | None, services: str, addresses: Mapping[str, str]) -> Iterator[str]:
    among = _within(addresses, services)
    if among:
        yield f"The network of services, {services}, holds addresses of machines: {among}. Give the machines others."
    if not pods:
        return
    try:
        ours = ipaddress.ip_network(pods)
        whole = ours.version == 4 and "/" in pods and WIDEST <= ours.prefixlen <= NARROWEST
    except ValueError:
        whole = False
    if not whole:
        yield (
            f"pod_subnet is {pods}; write a network's first address and a prefix from /{WIDEST} to /{NARROWEST}, such as "
            f"10.244.0.0/16: every node gets a /{NODE_PREFIX} of it."
        )
        return
    if ours.overlaps(ipaddress.ip_network(services)):
        yield f"pod_subnet {pods} overlaps the network of services, {services}. Choose another for pods."
    if within := _within(addresses, pods):
        yield f"pod_subnet {pods} holds addresses of machines: {within}. Choose one that nothing else uses."


def _tools(folder: str, missing: Sequence[str], versions: Mapping[str, str], version: str) -> Iterator[str]:
    if not folder:
        return
    if missing:
        yield (
            f"tools_directory, {folder}, does not have {', '.join(missing)} on this computer. Download them for {version} from "
            "https://dl.k8s.io, or build them with `primage site local up`."
        )
    # A tool for another system or architecture does not run here, and so has no version.
    others = {
        name: found[0] for name, said in versions.items() if (found := re.findall(r"v[0-9][^\s]*", said)) and found[0] != version
    }
    if others:
        has = ", ".join(f"{name} {its}" for name, its in sorted(others.items()))
        yield f"tools_directory, {folder}, has {has}; kubernetes_version is {version}. Make them the same."


def _within(addresses: Mapping[str, str], network: str) -> str:
    """The machines whose addresses are of a network, as one lists them."""
    whole = ipaddress.ip_network(network)
    return ", ".join(f"{host} ({address})" for host, address in sorted(addresses.items()) if _is_within(address, whole))


def _is_within(address: str, network: Any) -> bool:
    """Whether it is an address of the network; a name is none."""
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Any]:
        """The filter's name."""
        return {"inventory_mistakes": inventory_mistakes}
