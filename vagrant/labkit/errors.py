"""What the lab says when it can't go on."""


class LabError(Exception):
    """Something failed; `hint` says what to look at next."""

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nhint: {self.hint}" if self.hint else text


class UsageError(LabError):
    """The command line or the name of a guest is wrong: exit status 2."""
