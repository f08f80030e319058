"""Which version answers."""

import pytest

from lambdas.domain.release import choose_version, shares_in_service


def test_versions_get_their_shares() -> None:
    """A canary of a tenth must not be a half."""
    chosen = [choose_version({"v1": 0.9, "v2": 0.1}, f"job_{n}", 1) for n in range(5000)]
    assert 0.085 <= chosen.count("v2") / len(chosen) <= 0.115


def test_the_same_attempt_always_gets_the_same_version() -> None:
    """A message that is delivered again must not run on another version."""
    assert len({choose_version({"a": 0.5, "b": 0.5}, "job_x", 2) for _ in range(50)}) == 1


def test_jobs_go_on_running_on_what_serves() -> None:
    """A new version has its share before it has an endpoint: nobody should wait for that."""
    shares = {"v1": 0.0, "v2": 1.0}
    assert shares_in_service(shares, {"v1": 2}) == {"v1": 2.0}
    assert shares_in_service(shares, {"v1": 2, "v2": 1}) == {"v2": 1.0}
    assert shares_in_service({"v1": 0.5, "v2": 0.5}, {"v1": 1, "v2": 0}) == {"v1": 0.5}
    assert shares_in_service(shares, {}) == shares


def test_a_version_without_a_share_gets_nothing() -> None:
    """A version that was taken back must not answer a single job."""
    assert {choose_version({"v1": 1.0, "v2": 0.0}, f"job_{n}", 1) for n in range(200)} == {"v1"}
    with pytest.raises(ValueError, match="no version"):
        choose_version({"v1": 0.0}, "job_x", 1)
