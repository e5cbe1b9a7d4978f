"""Lines on the terminal that may hold names and errors from files."""

from rich.console import Console

from eval_now.errors import one_line


def print_line(console: Console, text: str) -> None:
    """Print one line as it is: no markup, no wrapping, control characters escaped."""
    console.print(one_line(text), highlight=False, markup=False, soft_wrap=True)
