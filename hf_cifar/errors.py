"""Owns the exceptions that recipes print as one line: what the user can mend, and what the Hub did not do."""


class UserError(ValueError):
    """Bad input. The message states the value, what is allowed and the remedy; recipes print it and exit with 2."""


class HubError(RuntimeError):
    """The Hub did not do what was asked, after retries, or holds something else; recipes print it and exit with 1."""
