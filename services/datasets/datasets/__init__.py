"""Cases, their images and datasets of a site's virtual organisations."""
