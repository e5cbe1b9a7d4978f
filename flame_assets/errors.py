"""Errors a user can mend: each command turns them into one line and exit code 2."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Wrong input; the message says what was expected, what came and what to do."""

    exit_code = 2


def exit_with_one_line(command: Callable[[], int | None]) -> int:
    """Run `command`; a `UserError`, or a file system that refuses, becomes one line on stderr."""
    try:
        return command() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        return UserError.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
