"""``python -m schemenets``."""

import gc
import sys

gc.disable()  # nothing that is imported is garbage, and looking for some takes a sixth of the time
from schemenets.study.cli import main  # noqa: E402

gc.enable()
gc.freeze()

sys.exit(main())
