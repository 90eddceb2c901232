"""Makes what virtual organisations (VOs) and their members have on a site, and keeps it so."""
