"""What a key may do."""

from dataclasses import replace

import pytest

from lambdas.domain.access import (
    JOBS_READ,
    JOBS_WRITE,
    SCOPES,
    USAGE_READ,
    check_access,
    narrowed,
    scope_needed,
)
from lambdas.domain.errors import ApiError
from stacks.api_construct import ANSWERS, ROUTES
from tests.domain.api_policy import ANYBODY


def test_every_route_of_the_api_needs_a_scope_or_tells_nothing_of_jobs() -> None:
    """A route that nobody thought of must not be open to a key for something else."""
    needed = {f"{verb} {path}": scope_needed(f"{verb} {path}") for verb, path in ROUTES}

    open_to_all = {route for route, scope in needed.items() if scope is None}
    assert open_to_all <= {"GET /v1/models", "GET /v1/models/{id}", "GET /v1/capacity"}
    assert {scope for scope in needed.values() if scope} <= set(SCOPES)
    assert all(
        scope == JOBS_WRITE
        for route, scope in needed.items()
        if not route.startswith("GET ") and "usage" not in route
    )


@pytest.mark.parametrize(
    ("route", "scope"),
    [
        ("POST /v1/jobs", JOBS_WRITE),
        ("POST /v1/jobs/{id}/cancel", JOBS_WRITE),
        ("POST /v1/jobs/{id}/feedback", JOBS_WRITE),
        ("DELETE /v1/jobs/{id}", JOBS_WRITE),
        ("GET /v1/jobs", JOBS_READ),
        ("GET /v1/jobs/{id}", JOBS_READ),
        ("GET /v1/files/{id}/content", JOBS_READ),
        ("GET /v1/usage", USAGE_READ),
    ],
)
def test_a_key_without_the_scope_is_told_which_it_needs(route: str, scope: str) -> None:
    """Whoever is refused must know what to ask the operator for."""
    others = replace(ANYBODY, scopes=frozenset(SCOPES) - {scope})

    with pytest.raises(ApiError, match=scope) as refused:
        check_access(others, route, now_ms=0)

    assert (refused.value.status, refused.value.code) == (403, "scope_missing")
    check_access(replace(ANYBODY, scopes=frozenset({scope})), route, now_ms=0)
    check_access(ANYBODY, route, now_ms=0)


def test_a_key_that_expired_a_moment_ago_is_as_good_as_none() -> None:
    """API Gateway lets it in for another minute, which may be the minute that it was bought for."""
    caller = replace(ANYBODY, expires_ms=1000)
    check_access(caller, "GET /v1/models", now_ms=999)

    with pytest.raises(ApiError) as refused:
        check_access(caller, "GET /v1/models", now_ms=1000)

    # What API Gateway says to an unknown key, to the letter: nobody learns that this one was good.
    error = refused.value
    assert (error.status, error.kind, error.code, error.message) == ANSWERS["UNAUTHORIZED"]


@pytest.mark.parametrize(
    ("tenant", "key", "both"),
    [
        (None, None, None),
        (None, {"a"}, {"a"}),
        ({"a"}, None, {"a"}),
        ({"a", "b"}, {"b", "c"}, {"b"}),
        ({"a"}, {"b"}, set()),
    ],
)
def test_a_key_narrows_and_never_widens(
    tenant: set[str] | None, key: set[str] | None, both: set[str] | None
) -> None:
    """None is all and an empty set is nothing: mixed up, a key opens everything."""

    def frozen(names: set[str] | None) -> frozenset[str] | None:
        return None if names is None else frozenset(names)

    assert narrowed(frozen(tenant), frozen(key)) == frozen(both)
