"""How a run that writes files heeds Ctrl-C and SIGTERM: its files are taken back first."""

import signal
import sys

from pacofr.utils.stop_request import StopRequest


def leave_if_asked(stop: StopRequest) -> None:
    """End the run where a signal asked for it.

    Raises:
        KeyboardInterrupt: for Ctrl-C.
        SystemExit: for SIGTERM.
    """
    if stop.signal == signal.SIGINT:
        raise KeyboardInterrupt
    if stop.signal is not None:
        sys.exit(stop.exit_code)
