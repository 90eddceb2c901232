"""Who was given, lost, launched and opened what, as both logs of a site have it."""
