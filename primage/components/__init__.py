"""Pulumi components that apps and the site program share."""
