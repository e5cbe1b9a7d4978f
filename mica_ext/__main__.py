"""`python -m mica_ext` is `mica-ext`; torchrun needs a module to start."""

import os
import sys

from mica_ext.cli import main

code = main()
if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    from pacofr.engine.distributed import end_process

    end_process(code)
sys.exit(code)
