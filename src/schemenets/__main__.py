"""``python -m schemenets``."""

import sys

from schemenets.study.cli import main

sys.exit(main())
