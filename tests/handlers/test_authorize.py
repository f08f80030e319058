"""authorize."""

import json
from typing import Any

import pytest

from lambdas.domain.keys import key_hash, new_key
from tests.handlers.region import START_S, Region, aws

KEY = new_key(bytes(range(32)))


def add(
    region: Region,
    key: str = KEY,
    *,
    revoked: bool = False,
    of_key: dict[str, Any] | None = None,
    **tenant: Any,
) -> None:
    """Write what `spillway tenant add` and `spillway key add` write."""
    item: dict[str, Any] = {"pk": {"S": f"key#{key_hash(key)}"}, "tenant": {"S": "acme"}}
    item |= of_key or {}
    if revoked:
        item["revoked_ms"] = {"N": "1"}
    dynamodb, table = aws("dynamodb"), region.names.directory
    dynamodb.put_item(TableName=table, Item=item)
    dynamodb.put_item(TableName=table, Item={"pk": {"S": "tenant#acme"}, **tenant})


def effect(answer: Any) -> str:
    """What the policy says."""
    (statement,) = answer["policyDocument"]["Statement"]
    return str(statement["Effect"])


def test_a_key_opens_its_tenants_routes(region: Region) -> None:
    """API Gateway keeps the answer for all routes, so a policy for one would refuse the next."""
    add(region)

    answer = region.authorize(f"Bearer {KEY}")

    assert effect(answer) == "Allow"
    (statement,) = answer["policyDocument"]["Statement"]
    assert statement["Resource"] == "arn:aws:execute-api:us-east-1:123456789012:abc/api/*"
    assert answer["context"] == {
        "tenant": "acme",
        "key": key_hash(KEY)[:12],
        "models": "*",
        "tiers": "*",
        "scopes": "*",
        "expires_ms": "",
        "rate": "50",
        "in_flight": "10000",
        "tokens_per_day": "",
        "metadata_mask": "",
    }


def test_a_tenants_limits_travel_with_every_request(region: Region) -> None:
    """Later functions believe the authorizer: what is not in its answer is not limited."""
    add(
        region,
        models={"L": [{"S": "chat"}]},
        tiers={"L": [{"S": "standard"}, {"S": "batch"}]},
        rate_per_s={"N": "0.5"},
        in_flight_max={"N": "3"},
        tokens_per_day={"N": "1000"},
        metadata_mask={"M": {"e, mail": {"S": "mask"}}},
    )

    context = region.authorize(f"Bearer {KEY}")["context"]

    limits = {"models": "chat", "tiers": "batch,standard", "rate": "0.5", "in_flight": "3"}
    limits |= {"tokens_per_day": "1000", "metadata_mask": '{"e, mail": "mask"}'}
    assert limits.items() <= context.items()
    # API Gateway refuses an answer whose context holds anything but plain values.
    assert all(isinstance(value, str) for value in context.values())


def test_a_tenant_that_may_use_nothing_may_use_nothing(region: Region) -> None:
    """An empty list must not read as no limit."""
    add(region, models={"L": []})
    context = region.authorize(f"Bearer {KEY}")["context"]

    reply = region.ask(
        "POST /v1/jobs", body={"model": "chat", "input": 1}, models=context["models"]
    )

    assert reply.status == 403


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        KEY,
        f"Basic {KEY}",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        "Bearer sk-spillway-",
        "Bearer sk-other",
        "Bearer sk-spillway-" + "x" * 10_000,
    ],
)
def test_a_wrong_key_is_unauthorized(region: Region, header: str) -> None:
    """API Gateway makes a 401 of exactly this message, and a 500 of any other."""
    add(region)

    with pytest.raises(Exception, match=r"^Unauthorized$"):
        region.authorize(header)


def test_a_revoked_key_gets_the_answer_of_a_wrong_one(region: Region) -> None:
    """Whoever found an old key must not learn that it was ever good."""
    add(region, revoked=True)
    answers = []
    for header in (f"Bearer {KEY}", f"Bearer {new_key(bytes(32))}"):
        with pytest.raises(Exception, match=r"^Unauthorized$") as refused:
            region.authorize(header)
        answers.append((type(refused.value), str(refused.value)))

    assert answers[0] == answers[1]


def test_an_expired_key_gets_the_answer_of_a_wrong_one(region: Region) -> None:
    """A key that somebody forgot to revoke ends by itself, and tells its finder nothing."""
    add(region, of_key={"expires_ms": {"N": str(1000 * START_S)}})

    with pytest.raises(Exception, match=r"^Unauthorized$"):
        region.authorize(f"Bearer {KEY}")


def test_what_a_key_may_do_travels_with_every_request(region: Region) -> None:
    """API Gateway keeps the answer: the functions must know when the key ends meanwhile."""
    end = str(1000 * START_S + 1)
    scopes = {"L": [{"S": "jobs:write"}, {"S": "jobs:read"}]}
    add(region, of_key={"expires_ms": {"N": end}, "scopes": scopes})

    context = region.authorize(f"Bearer {KEY}")["context"]

    assert (context["scopes"], context["expires_ms"]) == ("jobs:read,jobs:write", end)


def test_a_key_narrows_its_tenant_and_never_widens_it(region: Region) -> None:
    """A key for one model must not open what its tenant may not use."""
    add(
        region,
        of_key={"models": {"L": [{"S": "embedder"}, {"S": "chat"}]}, "tiers": {"SS": ["batch"]}},
        models={"L": [{"S": "chat"}]},
    )

    context = region.authorize(f"Bearer {KEY}")["context"]

    assert (context["models"], context["tiers"]) == ("chat", "batch")


def test_a_key_of_a_tenant_that_is_gone_is_unauthorized(region: Region) -> None:
    """A key alone is no limit and no name to bill."""
    add(region)
    aws("dynamodb").delete_item(TableName=region.names.directory, Key={"pk": {"S": "tenant#acme"}})

    with pytest.raises(Exception, match=r"^Unauthorized$"):
        region.authorize(f"Bearer {KEY}")


def test_a_disabled_tenant_is_denied(region: Region) -> None:
    """A 403 tells it that its key is good, and whom to call."""
    add(region, disabled={"BOOL": True})

    assert effect(region.authorize(f"Bearer {KEY}")) == "Deny"


def test_keys_never_reach_the_log(region: Region, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that holds keys is a list of keys."""
    add(region)
    wrong = new_key(bytes(32))
    region.authorize(f"Bearer {KEY}")
    with pytest.raises(Exception, match="Unauthorized"):
        region.authorize(f"Bearer {wrong}")

    logged = capsys.readouterr().out
    assert KEY[12:] not in logged
    assert wrong[12:] not in logged
    found = [json.loads(line) for line in logged.splitlines()]
    ids = [line["key_id"] for line in found if "_aws" not in line]
    assert ids == [key_hash(key)[:12] for key in (KEY, wrong)]
    # What the alarm on refused keys counts.
    assert [line["KeysRefused"] for line in found if "_aws" in line] == [[1.0]]
