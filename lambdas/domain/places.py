"""Places that are kept for waiting: a few for each tenant, held until they are left or run out."""

from collections.abc import Mapping
from zlib import crc32


def first_place(job: str, places: int) -> int:
    """Where to look first: jobs spread over the places, so that few meet."""
    return crc32(job.encode()) % places


def free_place(
    held_until_ms: Mapping[int, int], *, first: int, places: int, now_ms: int
) -> int | None:
    """A place that nobody holds, or whose holder's time is up; None if all are held.

    Args:
        held_until_ms: By place, from 0, until when it is held.
        first: From which on to look, so that those who find theirs held do not all meet again.
        places: How many there are.
        now_ms: This region's time.
    """
    for step in range(places):
        place = (first + step) % places
        if held_until_ms.get(place, 0) < now_ms:
            return place
    return None
