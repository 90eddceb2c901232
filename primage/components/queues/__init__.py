"""High-throughput applications: a queue, its consumers, its scaler."""
