"""What people do with a standing site or stack, whichever engine made it."""
