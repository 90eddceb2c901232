"""What Kubernetes objects mean: ready, waiting, failed, and why."""
