"""Which version answers a job: shares of a model's jobs by version."""

import hashlib
from collections.abc import Mapping


def choose_version(shares: Mapping[str, float], job_id: str, attempt: int) -> str:
    """Choose a version with the probability of its share.

    The same attempt always gets the same version while the shares stay, wherever it is asked;
    a further attempt may get another one.

    Args:
        shares: By version, each 0 to 1, summing to 1.
        job_id: The job.
        attempt: Numbered from 1.

    Raises:
        ValueError: No version has a share.
    """
    carrying = [(version, share) for version, share in sorted(shares.items()) if share > 0]
    if not carrying:
        raise ValueError("no version has a share of the jobs")
    digest = hashlib.sha256(f"{job_id}.{attempt}".encode()).digest()
    point = int.from_bytes(digest[:8]) / 2**64 * sum(share for _, share in carrying)
    for version, share in carrying:
        point -= share
        if point < 0:
            return version
    return carrying[-1][0]
