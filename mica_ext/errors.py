"""Errors a user can mend, and the guard that makes one line and an exit code of them.

Each package holds this same file, for the libraries do not import each other; a test compares them.
"""

import contextlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

LONGEST_LINE = 500


class UserError(Exception):
    """Wrong input; the message says what was expected, what came and what to do."""

    exit_code = 2


def run_command(command: Callable[[], int | None]) -> int:
    """Run a command to its exit code, with one line on standard error for what a user can mend.

    Returns:
        The command's own code (None is 0); `exit_code` of an error that has one, 2 for an error of
        the operating system, 130 after Ctrl-C, 141 when the reader of our output has gone.

    Raises:
        Exception: any other one is a bug and passes, with its traceback.
    """
    _fill_closed_streams()
    try:
        try:
            code = command() or 0
        finally:  # `--help` leaves by SystemExit: a full disk or closed pipe must show here, too
            if sys.stdout is not None:
                sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    except BrokenPipeError:
        _discard_output()
        return 141
    except Exception as error:
        line = error_line(error)
        if line is None:
            raise
        _discard_output()
        _say(f"error: {line}")
        return getattr(error, "exit_code", UserError.exit_code)


@contextlib.contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """End the process at once on Ctrl-C: C++ extensions abort on an exception, or swallow it.

    For blocks that leave nothing behind, such as imports. Handlers other than Python's own stay.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return

    def leave(*_: object) -> None:
        no_bar = b"\r\x1b[K\x1b[?25h" if os.isatty(2) else b""  # and the cursor again
        with contextlib.suppress(OSError):
            os.write(2, no_bar + b"stopped\n")
        os._exit(130)

    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def one_line_usage(program: str) -> Iterator[None]:
    """Make one line of the boxes that tyro prints about arguments it refuses.

    Args:
        program: whose `--help` the line names.

    Raises:
        UserError: tyro left with exit code 2.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as leaving:
        if leaving.code != UserError.exit_code:
            raise
        raise UserError(f"{_without_box(said.getvalue())} ({program} --help says more)") from None


def require_local_outputs(arguments: Sequence[str]) -> None:
    """Refuse URLs as --out, which would become folders called `s3:`.

    Raises:
        UserError: there is one.
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        flag, _, value = argument.partition("=")
        if flag in ("-o", "--out") and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", value or following):
            raise UserError(
                f"{flag} {value or following}: expected a path on this machine, got a URL; write"
                " to a path and copy it there"
            )


def _without_box(text: str) -> str:
    """What tyro's box says below its title, with the options or commands that it proposes."""
    lines = [line.strip("│╰╯ ") for line in text.splitlines()[1:]]
    body = "\n".join("" if re.fullmatch("[─-]*", line) else line for line in lines)
    sections = [" ".join(section.split()) for section in body.split("\n\n")]
    first, *others = [section for section in sections if section] or [""]
    said = first.partition(" Got errors:")[0].rstrip(".")
    for other in others:
        if other.startswith("Available subcommands"):
            said += f"; {other[0].lower()}{other[1:]}"
        elif other.startswith("Perhaps you meant"):
            words = [word.rstrip(",") for word in other.split() if word.startswith("--")]
            near = [word for word in words if word != "--help"]
            said += f"; perhaps {' or '.join(dict.fromkeys(near))}"
    return said


def error_line(error: BaseException) -> str | None:
    """The line that tells a user of `error`, at most 500 characters; None if it is a bug."""
    if isinstance(error, MemoryError):
        return "not enough memory for this; use a smaller input or batch"
    if isinstance(error, OSError) and not hasattr(error, "exit_code"):
        if error.strerror is None:
            return None
        where = "output" if error.filename is None else os.fsdecode(str(error.filename))
        return one_line(f"{where}: {error.strerror}")
    return one_line(str(error)) if hasattr(error, "exit_code") else None


def one_line(text: str) -> str:
    """`text` without line ends and control characters, its middle left out if it is long."""
    plain = printable(" ".join(text.split()))
    if len(plain) <= LONGEST_LINE:
        return plain
    half = (LONGEST_LINE - 5) // 2
    return f"{plain[:half]} ... {plain[-half:]}"


def printable(text: str) -> str:
    """`text` with escapes for line ends, control characters and bytes that are no text."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )


def _say(line: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def _fill_closed_streams() -> None:
    """Give closed standard streams to the null device, so that no file gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, this one
        if getattr(sys, name) is None:  # libraries ask streams whether they are a terminal
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):  # file names need not fit the terminal's encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Send what is left of standard output nowhere: the interpreter's last flush must not fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
