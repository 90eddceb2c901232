"""What a tenant has on a site before anybody logs in, as Kubernetes objects: computed from the settings alone, with no I/O.

A tenant is a VO's own namespace or a member's (primage.contract.tenant). Whoever makes these objects, or checks them, asks
here what they are: a module for each kind.
"""
