"""Progress lines with the time that is left."""

import logging
import time

INTERVAL = 5.0  # seconds between two lines
log = logging.getLogger("schemenets")


class Progress:
    """Logs how far a computation of ``total`` equal parts is and when it will be done, every few seconds.

    Args:
        label: what is computed.
        total: number of parts.
        unit: what a part is.
        done: parts that an earlier, interrupted run has done.
    """

    def __init__(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self._label, self._total, self._unit, self._first = label, total, unit, done
        self._start = self._last = time.monotonic()

    def update(self, done: int, message: str = "") -> None:
        """Say that ``done`` parts are done, if it is time for a line or nothing is left."""
        now = time.monotonic()
        if now - self._last < INTERVAL and done < self._total:
            return
        self._last = now
        left = (now - self._start) * (self._total - done) / max(done - self._first, 1)
        log.info(
            "%s: %d/%d %s, %s%s left",
            self._label,
            done,
            self._total,
            self._unit,
            message and f"{message}, ",
            duration(left),
        )


def duration(seconds: float) -> str:
    """Minutes and seconds, e.g. ``2:05``."""
    return "{}:{:02d}".format(*divmod(round(seconds), 60))
