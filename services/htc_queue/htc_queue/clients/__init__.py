"""Everything that is said to Redis and to Kubernetes."""

from htc_queue.clients.redis_queue import Queue, RedisError, connect, explain, say

__all__ = ["Queue", "RedisError", "connect", "explain", "say"]
