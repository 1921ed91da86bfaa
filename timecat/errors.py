"""The one error a user is meant to see."""


class UserError(Exception):
    """Bad input, told in one line that names the thing and the mend; the command exits with status 2."""
