"""What tenants' namespaces admit, as data: the rules of their ValidatingAdmissionPolicies, in CEL.

A rule is an expression that holds for what is admitted. Expressions speak of named variables, which each policy defines;
what a rule says to whom it refuses names what is wrong, why, and what to do. `infra/components/admission.py` makes
Kubernetes' objects of it, and tests/integration/hostile/test_admission.py tries every rule on a standing API server.

Two kinds of policy:
- of pods and of what pods are made from: they hold for everybody, since a tenant's pods are created by controllers;
- of objects: they hold for tenants, who are all that may not change the namespace itself (so an operator is whoever the
  cluster says is one), and not for Kubernetes' own components.
"""
