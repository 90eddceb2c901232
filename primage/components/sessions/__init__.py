"""Interactive sessions: notebooks, desktops and web folders."""
