"""`python -m pacofr` is `pacofr`; torchrun needs a module to start."""

import sys

from pacofr.cli import main

sys.exit(main())
