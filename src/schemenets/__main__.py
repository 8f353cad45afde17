"""``python -m schemenets``."""

import sys

from schemenets.cli import main

sys.exit(main())
