"""All I/O: the API server, and the container that makes folders."""
