"""Ansible's linear strategy with one Python process on each machine for a whole run, by Mitogen: half the work and half the time.

Mitogen also ties each of Ansible's processes to a processor. What they start inherits that, and machines that are containers would
have one processor for good, which kubeadm refuses: here they stay free. `ANSIBLE_STRATEGY=linear` goes without Mitogen.
"""

from ansible_mitogen import affinity

affinity.policy = affinity.Policy()

from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule  # noqa: E402

__all__ = ["StrategyModule"]
