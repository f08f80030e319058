"""Which version answers a job: shares of a model's jobs by version."""

import hashlib
from collections.abc import Mapping


def shares_in_service(
    shares: Mapping[str, float], instances: Mapping[str, int]
) -> Mapping[str, float]:
    """Share the jobs among the versions that can take them now.

    A release begins when functions know of it, before the new version has an endpoint, and an
    instance may be lost at any time: jobs go on running on what serves.

    Args:
        shares: By version, each 0 to 1.
        instances: In service by version; nothing for one that does not serve.

    Returns:
        The shares of those in service; if none of them has one, shares by their instances; all
        shares as they are if nothing serves, or nobody knows.
    """
    carrying = {name: share for name, share in shares.items() if share > 0 and instances.get(name)}
    others = {name: float(instances[name]) for name in shares if instances.get(name)}
    return carrying or others or shares


def choose_version(shares: Mapping[str, float], job_id: str, attempt: int) -> str:
    """Choose a version with the probability of its share.

    The same attempt always gets the same version while the shares stay, wherever it is asked;
    a further attempt may get another one.

    Args:
        shares: By version; only what they are to each other counts.
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
