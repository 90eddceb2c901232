"""What can be wrong with a login, and with what a browser asks for."""


class LoginRefusedError(Exception):
    """A login that did not come about; the message ends the sentence that says so."""


class EndedError(Exception):
    """A login that has ended at the identity provider."""


class ProviderAwayError(Exception):
    """The identity provider cannot be asked; trying again may help."""


class RefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)
