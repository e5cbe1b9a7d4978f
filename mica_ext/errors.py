"""Errors a user can mend; every command of mica_ext turns them into one line and exit code 2."""


class UserError(Exception):
    """Wrong input; the message says what was expected, what came and what to do."""

    exit_code = 2
