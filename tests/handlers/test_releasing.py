"""What the release function does to records, queues and jobs, and when it dies at that."""

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.adapters.gate import Gate
from lambdas.adapters.releases import Releases
from lambdas.domain.breaker import Breaker
from lambdas.domain.judgement import SMOKE_TRIES_MAX
from lambdas.domain.policy import Policy
from lambdas.domain.release import RELEASE_TENANT, Release, Step, place
from lambdas.domain.shares import Plan
from lambdas.handlers import release
from tests.handlers.region import HERE, MODEL, NEXT, THIRD, DiedError, Region, aws, error

V2 = {"v1": 0.0, "v2": 1.0}
SMOKE = ("hello", {"input": "world"})
PACKAGE = "arn:aws:sagemaker:{region}:123456789012:model-package/embedder/1"
IMAGE = "123456789012.dkr.ecr.{region}.amazonaws.com/embedder:2.0.0"
WEIGHTS = "s3://models-{region}/v2.tar.gz"


def tick(region: Region, *, left_ms: int = 30_000) -> None:
    """The minute's tick."""
    region.handler(release)({}, SimpleNamespace(get_remaining_time_in_millis=lambda: left_ms))


def records(region: Region) -> Releases:
    """The records, unwatched."""
    return Releases(aws("dynamodb"), region.names.ledger)


def record(region: Region) -> Release:
    """The embedder's record, which must be there."""
    found = records(region).read(MODEL)
    assert found is not None
    return found


def want(region: Region, **changes: Any) -> None:
    """Configure a second version, and want it."""
    document = region.policy.to_json()
    document["models"][MODEL] |= {"versions": V2, **changes}
    document["models"][MODEL]["release"]["smoke"] = SMOKE
    region.write(Policy.from_json(document))


def serve(
    region: Region, trial: str | None = "v2", *, open_ms: int | None = None, **instances: int
) -> None:
    """What beat writes when instances are in service."""
    Gate(aws("dynamodb"), region.names.gate).observe(
        MODEL,
        capacity=4,
        serving={"v1": 1, "v2": 1} | instances,
        now_ms=int(1000 * region.now_s),
        breaker=Breaker(open_ms=open_ms),
        may_start_ms=None,
        plan=Plan(shares={"batch": {"v1": 1.0}}, on_trial=trial),
    )


def smoke_jobs(region: Region) -> list[str]:
    """Ids of the unfinished smoke jobs."""
    pages = region.ledger.live(region.region, MODEL)
    return [job.id for page in pages for job in page if job.tenant == RELEASE_TENANT]


def finish(region: Region, *, status: str = "complete", version: str = "v2") -> None:
    """Let all smoke jobs run."""
    now_ms = int(1000 * region.now_s)
    for job_id in smoke_jobs(region):
        for name, values in (
            ("start", {"started_ms": now_ms, "version": version, "message": "m"}),
            (status, {"finished_ms": now_ms}),
        ):
            assert region.ledger.apply(region.job(job_id), name, now_ms=now_ms, **values).won


@pytest.fixture
def begun(region: Region) -> Region:
    """A deployment that releases v2, and whose beat has seen it."""
    tick(region)
    want(region)
    tick(region)
    serve(region)
    return region


def test_the_first_region_writes_the_first_record(region: Region) -> None:
    """Without one, a version that is wanted later would have nothing to be compared with."""
    tick(region.elsewhere(NEXT))
    assert records(region).read(MODEL) is None

    tick(region)
    first = record(region)
    tick(region)
    assert (first.live, first.candidate) == ("v1", None)
    assert record(region) == first, "nothing changes"


def test_a_wanted_version_waits_for_its_endpoint(region: Region) -> None:
    """Functions are deployed before models."""
    tick(region)
    want(region)
    tick(region)
    begun = record(region)
    assert (begun.candidate, begun.order) == ("v2", (HERE, NEXT, THIRD))
    assert begun.waits == f"v2 has no instance in service in {HERE}"
    assert smoke_jobs(region) == []

    serve(region, trial=None)
    tick(region)
    assert smoke_jobs(region) == [], "dispatch would not run them yet"


def test_smoke_jobs_run_on_the_new_version_and_decide(begun: Region) -> None:
    """An idle fleet is judged too, by the way that every job goes."""
    tick(begun)
    assert len(smoke_jobs(begun)) == len(SMOKE)
    sent = begun.messages(tier="interactive")
    assert {message["version"] for message in sent} == {"v2"}
    assert sorted(message["job"] for message in sent) == sorted(smoke_jobs(begun))
    assert begun.lambda_.bells[-1]["model"] == MODEL

    tick(begun)
    assert begun.messages(tier="interactive") == [], "they are sent once"
    assert record(begun).step == 0

    finish(begun)
    tick(begun)
    at = place(record(begun))
    assert at is not None
    assert (at.region, at.step) == (HERE, Step.BATCH)


def test_smoke_jobs_have_one_attempt_and_their_failure_ends_the_release(begun: Region) -> None:
    """A version that answers nothing must not meet a client."""
    tick(begun)
    finish(begun, status="fail")
    tick(begun)

    back = record(begun)
    assert back.candidate is None
    assert "smoke job 1 of 2 failed" in back.quarantined["v2"]
    assert begun.messages(tier="interactive")[len(SMOKE) :] == []
    tick(begun)
    assert record(begun).candidate is None, "until somebody clears it"


def test_smoke_jobs_that_ran_on_another_version_are_sent_again(begun: Region) -> None:
    """A message that lost its version judges nobody."""
    tick(begun)
    finish(begun, version="v1")
    begun.sleep(60)
    serve(begun)
    tick(begun)

    assert len(smoke_jobs(begun)) == len(SMOKE)
    assert record(begun).events[-1].what == "again"
    assert record(begun).since_ms == int(1000 * begun.now_s)


def test_a_smoke_job_that_never_starts_does_not_hang_a_day(begun: Region) -> None:
    """Its message may be lost; a pipeline that watches is to end today."""
    model = begun.policy.models[MODEL]
    within_s = model.warm_up_s + model.lease_s
    for tried in range(SMOKE_TRIES_MAX):
        assert record(begun).candidate == "v2", tried
        tick(begun)
        jobs = [begun.job(job_id) for job_id in smoke_jobs(begun)]
        assert len(jobs) == len(SMOKE)
        assert {job.deadline_ms for job in jobs} == {int(1000 * (begun.now_s + within_s))}
        begun.sleep(within_s)
        now_ms = int(1000 * begun.now_s)
        for job in jobs:
            ended = begun.ledger.apply(job, "expire", now_ms=now_ms, finished_ms=now_ms, live=None)
            assert ended.won
        serve(begun)
        tick(begun)

    back = record(begun)
    assert back.candidate is None
    assert "did not run on it" in back.quarantined["v2"]
    assert back.quarantined["v2"].endswith("nor those 2 times before")


def test_only_the_region_whose_turn_it_is_sends_smoke_jobs(begun: Region) -> None:
    """The others have nothing to try yet."""
    there = begun.elsewhere(NEXT)
    tick(there)
    assert [operation for operation in there.operations() if operation == "SendMessage"] == []


def test_a_guard_alarm_that_fires_takes_the_version_back(begun: Region) -> None:
    """Whatever the event said: the alarm is asked."""
    standing = record(begun)
    assert records(begun).write(replace(standing, revision=standing.revision + 1, step=1))
    name = begun.names.guard_alarm(MODEL, "v2", "failures")
    cloudwatch = aws("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        MetricName="Failed",
        Namespace=begun.names.metrics,
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    tick(begun)
    assert record(begun).candidate == "v2", "an alarm that is there does not fire yet"

    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    tick(begun)

    back = record(begun)
    assert (back.candidate, back.live) == (None, "v1")
    assert back.quarantined == {"v2": f"guard failures in {HERE}"}


def test_a_model_that_only_gets_probes_is_waited_for(begun: Region) -> None:
    """A release would else go on over the failures of either version."""
    tick(begun)
    finish(begun)
    serve(begun, open_ms=1)
    tick(begun)
    begun.sleep(begun.policy.models[MODEL].release.bake_s)
    tick(begun)
    assert record(begun).step == 1, "it answered its smoke jobs, which run on it alone"
    assert record(begun).waits == f"most attempts fail in {HERE}"

    serve(begun)
    tick(begun)
    assert record(begun).step == 2


def test_what_nobody_sees_nobody_judges(begun: Region) -> None:
    """A version must not go on to more clients while its alarms cannot be read."""
    tick(begun)
    finish(begun)

    def refuse() -> None:
        raise error("InternalFailure", "DescribeAlarms")

    begun.faults = {"DescribeAlarms": refuse}
    tick(begun)
    assert record(begun).step == 0
    begun.faults = {}
    tick(begun)
    assert record(begun).step == 1


def test_a_run_that_decides_nothing_is_no_decision(
    begun: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """A function that runs every minute and is refused every time looks well from outside."""

    def said() -> list[float]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [value for line in lines for value in line.get("ReleasesDecided", [])]

    said()
    tick(begun)
    assert said() == [1]

    def refuse() -> None:
        raise error("AccessDenied", "DescribeAlarms")

    begun.faults = {"DescribeAlarms": refuse}
    tick(begun)
    assert said() == [0]
    begun.faults = {}
    tick(begun, left_ms=0)
    assert said() == [0]


def test_a_record_that_somebody_else_changed_is_read_again(begun: Region) -> None:
    """An operator pauses while the minute's tick decides."""
    tick(begun)
    finish(begun)

    def pause() -> None:
        standing = record(begun)
        if not standing.paused:
            assert records(begun).write(
                replace(standing, revision=standing.revision + 1, paused=True)
            )

    begun.faults = {"PutItem": pause}
    tick(begun)
    assert (record(begun).paused, record(begun).step) == (True, 0)


@pytest.mark.parametrize(
    ("status", "image", "weights", "said"),
    [
        ("PendingManualApproval", IMAGE, WEIGHTS, "is PendingManualApproval"),
        ("Approved", IMAGE.replace("2.0.0", "3.0.0"), WEIGHTS, "another image"),
        ("Approved", IMAGE, WEIGHTS.replace("v2", "v3"), "other model data"),
        ("Approved", IMAGE, WEIGHTS, ""),
        ("", IMAGE, WEIGHTS, "does not exist"),
    ],
)
def test_only_what_was_approved_is_released(
    region: Region, status: str, image: str, weights: str, said: str
) -> None:
    """Somebody answers for the very image and weights that clients will get."""
    if status:
        sagemaker = aws("sagemaker")
        sagemaker.create_model_package_group(ModelPackageGroupName="embedder")
        sagemaker.create_model_package(
            ModelPackageGroupName="embedder",
            ModelApprovalStatus=status,
            InferenceSpecification={
                "Containers": [
                    {
                        "Image": image.replace("{region}", HERE),
                        "ModelDataUrl": weights.replace("{region}", HERE),
                    }
                ],
                "SupportedContentTypes": [],
                "SupportedResponseMIMETypes": [],
            },
        )
    tick(region)
    want(region, packages={"v2": {"arn": PACKAGE, "image": IMAGE, "artifact": WEIGHTS}})
    tick(region)

    assert record(region).candidate == (None if said else "v2")
    assert said in record(region).waits


def test_what_replaces_a_live_version_is_approved_too(region: Region) -> None:
    """One deployment that swaps the only version must not go round the registry."""
    tick(region)
    package = {"arn": PACKAGE, "image": IMAGE, "artifact": WEIGHTS}
    want(region, versions={"v2": 1.0}, packages={"v2": package})
    tick(region)
    tick(region)
    waits = record(region)
    assert (waits.live, waits.candidate) == ("v1", None)
    assert waits.waits.startswith("v1 is not configured any more, and the model package")
    assert waits.revision == 2, "it is said once"

    want(region, versions={"v2": 1.0}, packages={})
    tick(region)
    assert record(region).live == "v2"


def test_a_function_that_dies_between_any_two_calls_is_repaired_by_the_next(
    begun: Region,
) -> None:
    """No step may need the one before it to have been finished by the same execution."""
    watched = [f"{operation} done" for operation in ("BatchGetItem", "GetItem", "PutItem")]
    watched += ["PutItem", "SendMessage", "SendMessage done", "Invoke"]
    deaths = 0
    for number in range(1, 60):
        left = [number]

        def strike(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise DiedError

        faults: dict[str, Callable[[], None]] = dict.fromkeys(watched, strike)
        begun.faults = faults
        begun.forget_environments()
        try:
            tick(begun)
        except DiedError:
            deaths += 1
            continue
        break
    assert deaths > len(SMOKE) * 3
    begun.faults = {}
    assert len(smoke_jobs(begun)) == len(SMOKE)
    sent = {message["job"] for message in begun.messages(tier="interactive")}
    assert sent == set(smoke_jobs(begun)), "every job has its message"
    finish(begun)
    tick(begun)
    assert record(begun).step == 1


def test_a_region_that_is_away_is_put_off_by_another(begun: Region) -> None:
    """Its own function does not run, or must not decide about clients that go elsewhere."""
    for region, state in ((HERE, "lost"), (NEXT, "serving"), (THIRD, "serving")):
        aws("dynamodb").put_item(
            TableName=begun.names.ledger,
            Item={
                "pk": {"S": f"region#{region}"},
                "epoch": {"N": "2"},
                "sequence": {"N": "1"},
                "state": {"S": state},
            },
        )
    tick(begun.elsewhere(THIRD))
    put_off = record(begun)
    assert put_off.order == (NEXT, THIRD, HERE)
    assert (put_off.step, put_off.events[-1].what) == (0, "put off")
