"""`pacofr evidence` with a tiny network under the name `micro`, as a script for tests that kill it.

python tests/helpers/table7_tiny.py FLAGS...
"""

import sys
from pathlib import Path


def main() -> int:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from helpers.pacofr_tiny import tiny_config

    from pacofr.cli import main
    from pacofr.pretraining.presets import PRESETS

    assert isinstance(PRESETS, dict)
    PRESETS["micro"] = tiny_config
    return main(["evidence", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
