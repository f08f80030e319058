"""What the functions tell CloudWatch: read from what they print, as CloudWatch does."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.adapters.gate import Gate
from lambdas.adapters.metrics import Metrics
from lambdas.domain.job import inference_id
from lambdas.domain.metrics import METRICS
from lambdas.domain.policy import Minimum
from lambdas.domain.release import RELEASE_TENANT
from lambdas.handlers import beat, complete
from lambdas.handlers.measures import Measures
from tests.handlers.region import HERE, MODEL, START_S, Region, aws

BEAT_S = 5


@pytest.fixture(autouse=True)
def queues(region: Region) -> None:
    """Those of the other model."""
    for tier in region.policy.tiers:
        aws("sqs").create_queue(QueueName=region.names.tier_queue("chat", tier.name))


def told(captured: pytest.CaptureFixture[str]) -> dict[tuple[str, ...], Any]:
    """Values that were printed, by metric and dimensions."""
    found: dict[tuple[str, ...], Any] = {}
    for line in captured.readouterr().out.splitlines():
        document = json.loads(line)
        for group in document.get("_aws", {}).get("CloudWatchMetrics", []):
            assert group["Namespace"] == "Spillway/spillway-dev"
            (names,) = group["Dimensions"]
            for metric in group["Metrics"]:
                key = (metric["Name"], *(document[name] for name in names))
                found[key] = document[metric["Name"]]
    return found


def beats(region: Region) -> None:
    """Let beat run once."""
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 20_000)
    message = {"body": "{}", "attributes": {"SentTimestamp": str(int(1000 * region.now_s))}}
    region.handler(beat)({"Records": [message]}, context)


def one(values: Any) -> float:
    """The only value of a metric."""
    (value,) = values
    return float(value)


def test_beat_tells_what_waits_and_how_it_comes(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alarms that buy instances see nothing else."""
    beats(region)
    first = told(capsys)
    jobs = [region.submitted(f"text {number}", tier="batch") for number in range(10)]
    region.sleep(BEAT_S)
    beats(region)
    second = told(capsys)

    assert one(first["Pressure", MODEL]) == 0
    assert ("ArrivalRate", MODEL) not in first, "one look is no rate"
    assert one(second["Backlog", MODEL, "batch"]) == len(jobs)
    assert one(second["Backlog", MODEL, "interactive"]) == 0
    assert one(second["OldestWait", MODEL, "batch"]) == BEAT_S
    assert one(second["ArrivalRate", MODEL]) == len(jobs) / BEAT_S
    assert one(second["Pressure", MODEL]) > 0
    assert one(second["BurstRatio", MODEL]) > one(first["BurstRatio", MODEL]) == 0
    assert (one(second["Instances", MODEL]), one(second["InFlight", MODEL])) == (0, 0)


def test_whoever_is_live_has_the_minimum_of_this_hour(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a rollback the version before serves, and scalable targets know the wanted one alone.

    What is in quarantine has no minimum: its instances are spare, and after half an hour the alarm
    on instances that complete nothing tells somebody what they cost.
    """
    evening = Minimum(cron="0 22 ? * * *", timezone="UTC", instances_min=2)
    model = replace(
        region.policy.models[MODEL], versions={"v1": 0.0, "v2": 1.0}, schedule=(evening,)
    )
    measures = Measures(policy=region.policy, metrics=Metrics(region.names.metrics))

    def tell(fleet: dict[str, tuple[int, int]]) -> dict[tuple[str, ...], Any]:
        nothing: dict[str, Any] = {
            name: {} for name in ("waiting", "unfinished", "ended", "started")
        }
        versions = {"lasting": ["v1"], "warm": [], "shares": {"batch": {"v1": 1.0}}}
        seen = nothing | {"oldest_s": {}, "in_use": 0, "instances": 1}
        seen |= {"versions": versions, "fleet": fleet}
        measures.tell(model, seen, None, seconds=5, now_ms=int(1000 * START_S))
        return told(capsys)

    short = tell({"v1": (1, 1), "v2": (2, 2)})
    assert one(short["BurstRatio", MODEL, "v1"]) == 2, "22:13 UTC, and one of two is there"
    assert one(short["Spare", MODEL, "v1"]) == 0
    assert (one(short["BurstRatio", MODEL, "v2"]), one(short["Spare", MODEL, "v2"])) == (0, 2)
    gone = tell({"v1": (0, 0), "v2": (0, 0)})
    assert one(gone["Pressure", MODEL, "v1"]) >= 1, "the first one is woken"
    assert one(gone["Pressure", MODEL, "v2"]) == 0
    there = tell({"v1": (2, 2), "v2": (0, 0)})
    assert (one(there["BurstRatio", MODEL, "v1"]), one(there["Spare", MODEL, "v1"])) == (1, 0)


def test_beat_tells_who_gets_less_than_was_promised(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tier that starves looks like a tier that waits, unless somebody counts."""
    gate = Gate(aws("dynamodb"), region.names.gate)
    region.submitted(tier="batch")
    beats(region)
    told(capsys)
    gate.owe(MODEL, {"batch": 2.0}, started={"interactive": 20})
    region.sleep(BEAT_S)
    beats(region)
    assert one(told(capsys)["LowestShare", MODEL]) == 0
    gate.owe(MODEL, {"batch": -2.0}, started={"batch": 20})
    region.sleep(BEAT_S)
    beats(region)
    assert one(told(capsys)["LowestShare", MODEL]) > 1


def test_outcomes_are_told_by_version_and_batch(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """A guard compares versions; one that counts deliveries would see failures twice."""
    answers = ['{"x": 1}', "no json", None]
    records = []
    for number, answer in enumerate(answers):
        job = region.submitted(f"text {number}")
        region.start(job)
        said: dict[str, Any] = {"inferenceId": inference_id(job, 1)}
        said |= (
            {"invocationStatus": "Failed", "failureReason": "out of memory"}
            if answer is None
            else {"invocationStatus": "Completed", "responseBody": {"content": answer}}
        )
        records.append({"messageId": f"n-{number}", "body": json.dumps(said)})
    region.sleep(3)
    told(capsys)
    region.handler(complete)({"Records": records * 2}, None)

    found = told(capsys)
    version = (MODEL, "v1")
    assert found["Completed", *version] == [1]
    assert found["Failed", *version] == [1, 1]
    assert found["InvalidOutput", *version] == [1]
    assert found["ModelSeconds", *version, "standard"] == [3]
    assert found["OutputSize", *version, "standard"] == [len(answers[0] or "")]
    assert not {name for name, *_ in found} - {metric.name for metric in METRICS}
    assert HERE not in str(found)


def test_who_is_late_to_read_an_answer_makes_no_version_slow(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """An outage of ours would else take the live version back, everywhere, for its service time."""
    job = region.submitted()
    region.start(job)
    region.sleep(2)
    said = {"inferenceId": inference_id(job, 1), "invocationStatus": "Completed"}
    record = {
        "messageId": "n-1",
        "body": json.dumps(said | {"responseBody": {"content": "[1]"}}),
        "attributes": {"SentTimestamp": str(int(1000 * region.now_s))},
    }
    region.sleep(300)
    told(capsys)
    region.handler(complete)({"Records": [record]}, None)

    assert told(capsys)["ModelSeconds", MODEL, "v1", "standard"] == [2]


def test_what_the_live_version_answers_is_told_as_such_too(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards compare with whichever version was live then, not with one that somebody typed in."""
    records = []
    for version, tenant in (("v1", "acme"), ("v2", "acme"), ("v2", RELEASE_TENANT)):
        job = region.submitted(f"text of {version} {tenant}", tier="batch")
        aws("dynamodb").update_item(
            TableName=region.names.ledger,
            Key={"pk": {"S": f"job#{job}"}},
            UpdateExpression="SET tenant = :tenant",
            ExpressionAttributeValues={":tenant": {"S": tenant}},
        )
        begun = region.ledger.apply(
            region.job(job),
            "start",
            now_ms=int(region.now_s * 1000),
            started_ms=int(region.now_s * 1000),
            version=version,
            as_live=version == "v1",
            slot=f"s.{version}.{tenant}",
            message="m-1",
        )
        assert begun.won
        said = {
            "inferenceId": inference_id(job, 1),
            "invocationStatus": "Completed",
            "responseBody": {"content": "[1]"},
        }
        records.append({"messageId": job, "body": json.dumps(said)})
    region.sleep(2)
    told(capsys)
    region.handler(complete)({"Records": records}, None)

    tried = Gate(aws("dynamodb"), region.names.gate).state(MODEL).tried
    assert tried == 1, "a release tells how many attempts judged it"
    seconds = {key[2:]: values for key, values in told(capsys).items() if key[0] == "ModelSeconds"}
    batch = "batch"
    assert seconds == {("v1", batch): [2], ("live", batch): [2], ("v2", batch): [2]}, (
        "and smoke jobs are like nothing that clients ask"
    )
