"""The versions of the cluster's parts, in the spelling kubeadm uses; go.mod pins the same (a test compares them)."""

KUBERNETES = "v1.36.3"
ETCD = "v3.6.8"
COREDNS = "v1.14.2"
KUBE_ROUTER = "v2.1.0"
PAUSE = "3.10.2"
