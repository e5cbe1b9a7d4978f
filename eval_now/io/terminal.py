"""The terminal: lines that may hold names and errors from files, and a reader that may leave."""

from rich.console import Console

from eval_now.errors import one_line


class Terminal(Console):
    """Lets a closed pipe end the program as everywhere else (rich would exit with code 1)."""

    def on_broken_pipe(self) -> None:
        """Called while a BrokenPipeError is handled."""
        raise


def print_line(console: Console, text: str) -> None:
    """Print one line as it is: no markup, no wrapping, control characters escaped."""
    console.print(one_line(text), highlight=False, markup=False, soft_wrap=True)
