"""Makes folders on shared volumes: runs as root in a container of its own, without a token, and uses the standard library only."""
