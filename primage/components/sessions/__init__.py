"""Interactive sessions: notebooks and web folders."""
