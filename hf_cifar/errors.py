"""Owns the one exception that means "the user can mend this"."""


class UserError(ValueError):
    """Bad input. The message states the value, what is allowed and the remedy; recipes print it and exit with 2."""
