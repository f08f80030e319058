"""The time, as this machine sees it. Decisions get it handed in."""

import time


def now_s() -> float:
    """Seconds since the epoch."""
    return time.time()


def now_ms() -> int:
    """Whole milliseconds since the epoch, as the ledger keeps them."""
    return int(time.time() * 1000)
