"""The site's web pages for members: what they are, what they may run, and what became of it."""
