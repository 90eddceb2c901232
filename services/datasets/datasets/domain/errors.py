"""What can be wrong with a request, a form or an image."""


class FormError(ValueError):
    """A form's file that is not one; the message says which, where and why."""


class RefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


class RefusedImageError(ValueError):
    """An image that is not taken in; the message says why in words that hold nothing of the image's own."""


class RecordsAwayError(Exception):
    """The records cannot be asked; trying again may help."""


class ProviderAwayError(Exception):
    """The identity provider cannot be asked; trying again may help."""


class LoginRefusedError(Exception):
    """A token that does not hold; the message ends the sentence that says so."""


class UnreadableError(Exception):
    """Pixels that cannot be looked through for text; the message ends the sentence that says so."""


class ArchiveAwayError(Exception):
    """The archive cannot be asked, or does not take what it is sent; trying again may help."""
