"""Uploads: links that do what was signed, and an input that is accepted once it is everywhere."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from lambdas.adapters.gate import Gate
from lambdas.adapters.queues import HIDDEN_S
from lambdas.domain import uploads
from lambdas.domain.batch_lines import INPUT_BYTES_MAX
from lambdas.domain.job import Status
from lambdas.domain.uploads import PART_BYTES_MIN
from lambdas.handlers.bringing import BRINGING_MS_MIN
from tests.handlers.region import HERE, MODEL, NEXT, THIRD, DiedError, Region, aws
from tests.handlers.uploading import (
    CONTENT,
    TENANT,
    begin,
    dispatch,
    forget,
    kept,
    put,
    ready,
    replicate,
    slots,
    submit,
)

GET, COMPLETE = "GET /v1/uploads/{id}", "POST /v1/uploads/{id}/complete"
DELETE, JOB = "DELETE /v1/uploads/{id}", "GET /v1/jobs/{id}"


def test_an_upload_begins_with_a_link_that_does_one_thing(region: Region) -> None:
    """A link is passed on to tools that have no key: it must give no more than was asked for."""
    upload = begin(region, content_type="text/csv")

    asked = parse_qs(urlsplit(upload["url"]).query)
    assert asked["X-Amz-Expires"] == ["3600"]
    signed = "content-length;content-type;host;if-none-match"
    assert asked["X-Amz-SignedHeaders"] == [signed]
    assert upload["headers"] == {"Content-Type": "text/csv", "If-None-Match": "*"}
    assert upload["expires_at"] == "2023-11-14T23:13:20.000Z"
    assert (upload["object"], upload["status"], upload["parts"]) == ("upload", "waiting", None)
    assert (upload["bytes"], upload["method"], upload["region"]) == (len(CONTENT), "PUT", HERE)
    # Nobody who sees the address learns whose it is.
    assert TENANT not in upload["url"]


def test_an_upload_is_ready_when_every_region_has_it(region: Region) -> None:
    """Whatever region is lost next, the job that is accepted runs in another."""
    upload = begin(region)
    states = [region.ask(GET, job=upload["id"]).json["status"]]
    assert put(upload["url"], headers=upload["headers"]) == 200
    for places in ((), (NEXT,), (NEXT, THIRD)):
        if places:
            replicate(region, upload["id"], *places)
        states.append(region.ask(GET, job=upload["id"]).json["status"])

    assert states == ["waiting", "uploaded", "uploaded", "ready"]
    found = region.ask(GET, job=upload["id"]).json
    assert (found["url"], found["expires_at"]) == (None, None), "nothing is left to be written"


def test_a_waiting_upload_gets_new_links(region: Region) -> None:
    """A gigabyte over a slow line takes longer than an hour."""
    upload = begin(region)
    region.sleep(7200)

    again = region.ask(GET, job=upload["id"]).json

    assert again["url"] != upload["url"]
    assert again["expires_at"] == "2023-11-15T01:13:20.000Z"


def test_a_key_that_may_only_read_gets_no_link_to_write_to(region: Region) -> None:
    """A dashboard's key must not be able to hand a job its input."""
    upload = begin(region)

    seen = region.ask(GET, job=upload["id"], found={"scopes": "jobs:read"})

    assert (seen.status, seen.json["status"]) == (200, "waiting")
    assert (seen.json["url"], seen.json["parts"], seen.json["expires_at"]) == (None, None, None)


def test_what_is_there_is_not_overwritten(region: Region) -> None:
    """An input that changes after its job was accepted is another job's."""
    upload = begin(region)
    assert put(upload["url"], headers=upload["headers"]) == 200

    assert put(upload["url"], b'{"other": true}', upload["headers"]) == 412


def test_a_large_upload_goes_in_parts_that_the_service_puts_together(region: Region) -> None:
    """A client need not keep what S3 said of each part, and may repeat every step."""
    size = 2 * PART_BYTES_MIN + 5
    region.configure(input_bytes_max=size)
    upload = begin(region, size, part_bytes=PART_BYTES_MIN)
    sizes = [part["bytes"] for part in upload["parts"]]
    assert sizes == [PART_BYTES_MIN, PART_BYTES_MIN, 5]
    assert upload["url"] is None
    for part in upload["parts"][:2]:
        assert put(part["url"], b"a" * part["bytes"]) == 200

    early = region.ask(COMPLETE, job=upload["id"])
    assert (early.status, early.error["code"]) == (409, "upload_incomplete")
    assert "parts 3 are not there" in early.error["message"]
    assert put(upload["parts"][2]["url"], b"a" * 5) == 200
    assert region.ask(GET, job=upload["id"]).json["status"] == "waiting"

    for _ in range(2):
        done = region.ask(COMPLETE, job=upload["id"])
        assert (done.status, done.json["status"]) == (200, "uploaded")
    replicate(region, upload["id"])
    assert submit(region, upload["id"]).status == 202


def test_an_upload_in_one_piece_is_complete_when_it_is_there(region: Region) -> None:
    """A client may treat all uploads alike."""
    upload = begin(region)
    early = region.ask(COMPLETE, job=upload["id"])
    assert (early.status, early.error["code"]) == (409, "upload_incomplete")
    put(upload["url"], headers=upload["headers"])

    assert region.ask(COMPLETE, job=upload["id"]).json["status"] == "uploaded"


@pytest.mark.parametrize("route", [GET, COMPLETE, DELETE])
@pytest.mark.parametrize("case", ["another tenant's", "unknown", "no id", "elsewhere"])
def test_nobody_reaches_an_upload_that_is_not_theirs(region: Region, route: str, case: str) -> None:
    """Who guesses ids must not even learn which exist."""
    upload = str(begin(region)["id"])
    tenant = "other" if case == "another tenant's" else TENANT
    if case == "unknown":
        upload = uploads.upload_id(HERE, b"x" * 16)
    elif case == "no id":
        upload = "../../" + upload
    elif case == "elsewhere":
        upload = upload.replace(HERE, "eu-west-1")

    found = region.ask(route, job=upload, tenant=tenant)

    assert (found.status, found.error["code"]) == (404, "upload_not_found")
    refused = submit(region, upload, tenant=tenant)
    assert (refused.status, refused.error["code"]) == (400, "upload_not_found")


def test_a_job_of_an_upload_runs_from_it(region: Region) -> None:
    """Copying a gigabyte before every job would take longer than many of them."""
    upload = ready(region, content_type="text/csv")

    reply = submit(region, upload)

    assert reply.status == 202, reply.text
    job = region.job(reply.json["id"])
    assert job.input_key == uploads.object_key(TENANT, upload)
    assert (job.stored, job.content_type, job.input) == (HERE, "text/csv", None)


@pytest.mark.parametrize("where", [HERE, NEXT])
def test_a_job_of_an_upload_is_accepted_in_any_region(region: Region, where: str) -> None:
    """The API's name leads a client to another region at its next request."""
    upload = ready(region)
    there = region.elsewhere(where)

    reply = submit(there, upload)

    assert (reply.status, reply.json["region"]) == (202, where)
    assert region.job(reply.json["id"]).stored == HERE


def test_an_upload_that_is_not_everywhere_is_waited_for(region: Region) -> None:
    """An accepted job must survive the loss of any region, and automatic retries must help."""
    upload = begin(region)
    waiting = submit(region, upload["id"])
    assert (waiting.status, waiting.error["code"]) == (409, "upload_incomplete")
    assert waiting.headers["x-should-retry"] == "false"

    put(upload["url"], headers=upload["headers"])
    replicate(region, upload["id"], NEXT)
    early = submit(region, upload["id"])

    assert (early.status, early.error["code"]) == (429, "upload_not_ready")
    assert early.headers["Retry-After"] == "5"
    assert not region.messages()
    replicate(region, upload["id"], THIRD)
    assert submit(region, upload["id"]).status == 202


def test_a_lost_region_is_not_waited_for(region: Region) -> None:
    """It gets its copy when it is back; until then no upload at all would be taken."""
    upload = begin(region)
    put(upload["url"], headers=upload["headers"])
    replicate(region, upload["id"], NEXT)
    region.see(peers={THIRD: {"state": "lost", "models": {}, "grants": {}, "at_ms": 0}})

    assert submit(region, upload["id"]).status == 202
    asked = {params["Bucket"] for name, params in region.calls if name == "HeadObject"}
    assert region.names.replica_bucket(NEXT) in asked
    assert region.names.replica_bucket(THIRD) not in asked, "it would take seconds to fail"


def test_the_same_upload_is_the_same_job(region: Region) -> None:
    """A repeated request must find its job, and another one must not take its input."""
    upload = ready(region)
    first = submit(region, upload)

    again = submit(region, upload)
    other = submit(region, upload, tier="batch")

    assert (again.status, again.json["id"]) == (202, first.json["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status, other.error["code"]) == (409, "upload_used")
    assert first.json["id"] in other.error["message"]
    assert len(region.messages()) == 1


def test_an_upload_too_large_for_its_model_is_refused(region: Region) -> None:
    """The model would fail of it, after minutes."""
    upload = ready(region)
    region.configure(input_bytes_max=len(CONTENT) - 1)

    # A batch takes so many, whatever its models do.
    beyond = {"bytes": INPUT_BYTES_MAX + 1}

    for refused, field, most in (
        (submit(region, upload), "input_upload", len(CONTENT) - 1),
        (region.ask("POST /v1/uploads", body=beyond, models=MODEL), "bytes", INPUT_BYTES_MAX),
    ):
        assert (refused.status, refused.error["param"]) == (413, field)
        assert str(most) in refused.error["message"]


def test_an_upload_becomes_a_job_within_a_day_or_never(region: Region) -> None:
    """Later, the bucket's lifecycle could take it away from under the job."""
    upload = ready(region)
    region.sleep(uploads.KEPT_S)
    region.see()

    refused = submit(region, upload)

    assert (refused.status, refused.error["code"]) == (400, "upload_not_found")
    assert "older than a day" in refused.error["message"]


def test_erasing_the_job_erases_its_upload_everywhere(region: Region) -> None:
    """What the client wants gone must not lie on in five buckets."""
    upload = ready(region)
    job = submit(region, upload).json["id"]
    brought = f"inputs/{uploads.object_key(TENANT, upload)}"
    aws("s3", NEXT).put_object(Bucket=region.names.bucket(NEXT), Key=brought, Body=CONTENT)
    assert len(kept(region, upload)) == 4

    for _ in range(2):
        assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 200
    assert kept(region, upload) == set()
    assert submit(region, upload).error["code"] == "upload_used"


def test_an_erasure_that_was_cut_short_is_gone_on_with(region: Region) -> None:
    """After the tombstone nobody knows where the input was, but for the upload's id."""
    upload = ready(region)
    job = submit(region, upload).json["id"]
    aws_calls = len(region.operations())
    region.faults["DeleteObject#2"] = _refuse
    assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 503
    region.faults.clear()

    assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 200
    assert kept(region, upload) == set()
    assert len(region.operations()) > aws_calls


def test_an_upload_is_erased_unless_it_became_a_job(region: Region) -> None:
    """A client that gave up tidies up; a running job keeps its input."""
    upload = ready(region)
    assert region.ask(DELETE, job=upload).json["deleted"] is True
    assert kept(region, upload) == set()
    assert region.ask(GET, job=upload).status == 404

    used = ready(region)
    job = submit(region, used).json["id"]
    refused = region.ask(DELETE, job=used)
    assert (refused.status, refused.error["code"]) == (409, "upload_used")
    assert job in refused.error["message"]
    assert kept(region, used)


def test_parts_that_were_not_put_together_are_thrown_away(region: Region) -> None:
    """S3 bills them until somebody does, and no listing shows them."""
    size = PART_BYTES_MIN + 1
    region.configure(input_bytes_max=size)
    upload = begin(region, size, part_bytes=PART_BYTES_MIN)
    put(upload["parts"][0]["url"], b"a" * PART_BYTES_MIN)

    assert region.ask(DELETE, job=upload["id"]).status == 200

    listed = aws("s3").list_multipart_uploads(Bucket=region.names.bucket(HERE))
    assert not listed.get("Uploads")


def test_beginning_uploads_counts_against_the_rate(region: Region) -> None:
    """Else a tenant without any rate left could fill buckets."""
    statuses = [
        region.ask("POST /v1/uploads", body={"bytes": 1}, rate=0.2).status for _ in range(3)
    ]
    assert statuses == [201, 201, 429]


def test_an_upload_whose_region_was_lost_before_it_was_copied_is_not_accepted(
    region: Region,
) -> None:
    """What is in no other region cannot run; its links lead to the one that is lost."""
    upload = begin(region)
    put(upload["url"], headers=upload["headers"])
    replicate(region, upload["id"])
    forget(region, upload["id"], NEXT, THIRD)
    there = region.elsewhere(NEXT)
    there.see(peers={HERE: {"state": "lost", "models": {}, "grants": {}, "at_ms": 0}})

    refused = submit(there, upload["id"])

    assert (refused.status, refused.error["code"]) == (429, "upload_not_ready")
    assert f"Region {HERE}" in refused.error["message"]
    assert "bring the input anew" in refused.error["message"]
    assert refused.headers["Retry-After"] == "5"
    assert not there.messages()


def test_an_upload_is_known_while_its_region_is_away(region: Region) -> None:
    """The region of the upload may be lost between its end and its job."""
    upload = ready(region)
    there = region.elsewhere(NEXT)
    there.see(peers={HERE: {"state": "lost", "models": {}, "grants": {}, "at_ms": 0}})
    for operation in ("GetObject", "HeadObject"):
        there.faults[operation] = _away(there, HERE)

    assert submit(there, upload).status == 202


def test_an_upload_erased_while_its_job_was_taken_ends_the_job_at_once(region: Region) -> None:
    """Nobody knows of the job when the erasure looks: without an end it would wait for six days."""
    upload = ready(region)
    taken: list[str] = []

    def take() -> None:
        if not taken:
            taken.append("")
            taken[0] = submit(region.elsewhere(HERE), upload).json["id"]

    region.faults["DeleteObject"] = take
    assert region.ask(DELETE, job=upload).status == 200
    (job,) = taken

    assert dispatch(region) == {}

    view = region.ask(JOB, job=job).json
    assert (view["status"], view["attempt"]) == ("failed", 1)
    assert view["error"]["code"] == "input_gone"
    assert "deleted" in view["error"]["message"]
    assert (region.messages(), slots(region)) == ([], 0)
    assert "InvokeEndpointAsync" not in region.operations()
    # It says nothing of the version, and a client that does so in a loop stops nobody.
    assert Gate(aws("dynamodb"), region.names.gate).state(MODEL).breaker.bad == 0
    assert submit(region, upload).json["id"] == job, "and it is the upload's one job"


def test_an_upload_erased_everywhere_ends_its_job_in_another_region_too(region: Region) -> None:
    """What may still come is waited for; what cannot, is not."""
    upload = ready(region)
    there = region.elsewhere(NEXT)
    job = submit(there, upload).json["id"]
    forget(region, upload, NEXT, THIRD)
    there.faults["HeadObject"] = _away(there, HERE)
    aws("s3").delete_object(
        Bucket=region.names.bucket(HERE), Key=uploads.object_key(TENANT, upload)
    )

    dispatch(there)
    waiting = region.job(job)
    there.faults = {"HeadObject": lambda: there.sleep(2)}
    there.sleep(HIDDEN_S + 1)
    dispatch(there)

    assert (waiting.status, waiting.attempt) == (Status.QUEUED, 1)
    ended = region.job(job)
    assert (ended.status, (ended.error or {})["code"]) == (Status.FAILED, "input_gone")
    assert slots(region) == 0
    (used,) = there.ask("GET /v1/usage").json["data"]
    assert (used["jobs"]["failed"], used["gpu_s"]) == (1, 0), "nobody pays for no work"


def test_a_missing_copy_is_brought_when_the_others_have_started(region: Region) -> None:
    """A gigabyte takes half a minute, in which nobody else's job may stand still."""
    there = region.elsewhere(NEXT)
    first = _far_from_its_input(region, there)
    others = [there.submitted(f"other {number}") for number in range(3)]

    started = dispatch(there)

    operations = there.operations()
    assert started == {"standard": 3}
    assert operations.index("CopyObject") > max(
        number for number, each in enumerate(operations) if each == "InvokeEndpointAsync"
    )
    assert {region.job(job).status for job in others} == {Status.IN_PROGRESS}
    # It holds no slot and loses no attempt meanwhile, and begins when its input is there.
    assert (region.job(first).status, region.job(first).attempt) == (Status.QUEUED, 1)
    assert slots(region) == 3
    assert there.lambda_.bells[-1]["model"] == MODEL
    there.sleep(1)
    assert dispatch(there) == {"standard": 1}
    (address,) = {
        str(params["InputLocation"])
        for operation, params in there.calls
        if operation == "InvokeEndpointAsync" and "InputLocation" in params
    }
    assert address.startswith(f"s3://{region.names.bucket(NEXT)}/inputs/uploads/")
    assert operations.count("CopyObject") == 1


def test_a_dispatcher_brings_one_upload_and_only_if_it_has_the_time(region: Region) -> None:
    """One that dies of a copy leaves its other jobs hidden for two minutes."""
    there = region.elsewhere(NEXT)
    jobs = [_far_from_its_input(region, there) for _ in range(3)]

    dispatch(there, left_s=29)
    assert "CopyObject" not in there.operations()
    copies = []
    for _ in range(3):
        there.sleep(HIDDEN_S + 1)
        dispatch(there)
        copies.append(there.operations().count("CopyObject"))
    there.sleep(HIDDEN_S + 1)
    dispatch(there)

    assert copies == [1, 2, 3]
    hidden = [
        params["VisibilityTimeout"]
        for operation, params in there.calls
        if operation == "ChangeMessageVisibility"
    ]
    # Without time for a copy, the first one comes back soon; each that is brought, at once.
    assert sorted(hidden) == [0, 0, 0, 5, 30, 30, 30, 30, 30]
    assert {region.job(job).status for job in jobs} == {Status.IN_PROGRESS}
    assert {region.job(job).attempt for job in jobs} == {1}


@pytest.mark.parametrize("operation", ["CopyObject", "CopyObject done"])
def test_a_dispatcher_that_dies_of_a_copy_loses_nothing(region: Region, operation: str) -> None:
    """The copy may be there or not: only S3 knows, and is asked."""
    there = region.elsewhere(NEXT)
    job = _far_from_its_input(region, there)

    def die() -> None:
        raise DiedError

    there.faults[operation] = die
    with pytest.raises(DiedError):
        dispatch(there)
    there.faults.clear()
    assert slots(region) == 0
    for _ in range(2):
        there.sleep(HIDDEN_S + 1)
        dispatch(there)

    assert region.job(job).status is Status.IN_PROGRESS
    assert there.operations().count("CopyObject") == (2 if operation == "CopyObject" else 1)


def test_uploads_that_take_long_to_be_looked_for_are_brought_all_the_same(region: Region) -> None:
    """Else a hundred of them would have each run look at all, and none be begun."""
    there = region.elsewhere(NEXT)
    jobs = [_far_from_its_input(region, there) for _ in range(12)]
    there.faults["HeadObject"] = lambda: there.sleep(1)

    dispatch(there)

    assert there.operations().count("CopyObject") == 1
    assert {region.job(job).attempt for job in jobs} == {1}


def test_one_dispatcher_of_a_region_brings_uploads_at_a_time(region: Region) -> None:
    """All of them at it would leave nobody to start jobs that people wait for."""
    there, beside = region.elsewhere(NEXT), region.elsewhere(NEXT)
    first = _far_from_its_input(region, there)
    later: list[str] = []

    def meanwhile() -> None:
        later.append(_far_from_its_input(region, beside))
        quick = beside.submitted("quick")
        assert dispatch(beside) == {"standard": 1}
        assert region.job(quick).status is Status.IN_PROGRESS
        assert "CopyObject" not in beside.operations()

    there.faults["CopyObject"] = meanwhile
    dispatch(there)
    beside.sleep(HIDDEN_S + 1)
    dispatch(beside)

    assert region.job(first).status is Status.IN_PROGRESS
    assert beside.operations().count("CopyObject") == 1
    assert (region.job(later[0]).status, region.job(later[0]).attempt) == (Status.QUEUED, 1)


def test_who_died_bringing_an_upload_is_not_waited_for(region: Region) -> None:
    """Nobody would bring one any more."""
    there = region.elsewhere(NEXT)
    job = _far_from_its_input(region, there)
    gate = Gate(aws("dynamodb"), region.names.gate)
    at_ms = int(1000 * region.now_s)
    assert gate.take_bringing(who="died", until_ms=at_ms + BRINGING_MS_MIN, now_ms=at_ms)

    dispatch(there)
    assert "CopyObject" not in there.operations()
    assert region.job(job).status is Status.QUEUED
    there.sleep(BRINGING_MS_MIN / 1000 + 1)
    dispatch(there)

    assert there.operations().count("CopyObject") == 1


def test_one_silent_region_takes_no_round_all_its_time(region: Region) -> None:
    """A time-out is some seconds, of which a run has sixty: one that is killed leaks its slots."""
    there = region.elsewhere(NEXT)
    jobs = [_far_from_its_input(region, there) for _ in range(4)]
    for upload in {region.job(job).upload or "" for job in jobs}:
        forget(region, upload, THIRD)
    there.faults["HeadObject"] = _away(there, HERE)
    before = len(there.calls)

    dispatch(there)

    asked = [
        params
        for operation, params in there.calls[before:]
        if operation == "HeadObject" and params["Bucket"] == region.names.bucket(HERE)
    ]
    assert len(asked) == 1
    assert {(region.job(job).status, region.job(job).attempt) for job in jobs} == {
        (Status.QUEUED, 1)
    }
    assert slots(region) == 0


def test_a_job_that_waits_for_its_upload_holds_no_slot_of_a_run_that_failed(region: Region) -> None:
    """Its lease is for hours of a model's work, and would keep the slot from other jobs as long."""
    there = region.elsewhere(NEXT)
    job = _far_from_its_input(region, there)

    def refuse() -> None:
        if "REMOVE" in there.calls[-1][1]["UpdateExpression"]:
            del there.faults["UpdateItem"]
            _refuse()

    there.faults = {"UpdateItem": refuse, "CopyObject": _refuse}
    dispatch(there)
    assert (region.job(job).status, slots(region)) == (Status.IN_PROGRESS, 1)
    there.sleep(HIDDEN_S + 1)
    dispatch(there)

    assert (region.job(job).status, region.job(job).attempt) == (Status.QUEUED, 1)
    assert slots(region) == 0


def _far_from_its_input(region: Region, there: Region) -> str:
    """A job in the next region, whose copy of the upload is gone."""
    upload = ready(region)
    job = str(submit(there, upload).json["id"])
    forget(region, upload, NEXT)
    return job


def _away(region: Region, place: str) -> Callable[[], None]:
    """A fault: a region's bucket does not answer."""
    calls = region.calls

    def away() -> None:
        if calls[-1][1].get("Bucket") == region.names.bucket(place):
            _refuse()

    return away


def _refuse() -> None:
    from tests.handlers.region import error  # noqa: PLC0415 named like what it makes

    raise error("ServiceUnavailable", "DeleteObject")


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"content_type": "text/csv"}, "bytes", "the exact size"),
        ({"bytes": 0}, "bytes", "1 to 1000000000"),
        ({"bytes": 10**9 + 1}, "bytes", "1 to 1000000000"),
        ({"bytes": "5"}, "bytes", "the exact size"),
        ({"bytes": 1.5}, "bytes", "the exact size"),
        ({"bytes": 5, "content_type": "a"}, "content_type", "media type"),
        ({"bytes": 5, "content_type": "a/b\r\nx-amz-acl: public-read"}, "content_type", "media"),
        ({"bytes": 5, "part_bytes": PART_BYTES_MIN - 1}, "part_bytes", str(PART_BYTES_MIN)),
        ({"bytes": 5, "url": "x"}, "url", "the fields are bytes, content_type, part_bytes"),
        ([5], None, "JSON object"),
        (
            {"bytes": 5, "filename": "a", "mime_type": "text/jsonl", "purpose": "batch"},
            "filename",
            "becomes a file by its upload_id at POST /v1/files",
        ),
    ],
)
def test_a_bad_beginning_is_refused_naming_the_field(
    region: Region, body: object, param: str | None, says: str
) -> None:
    """A link with a header of somebody's making would do what nobody signed for."""
    reply = region.ask("POST /v1/uploads", body=body)

    assert (reply.status, reply.error["param"]) == (400, param)
    assert says in reply.error["message"]
    assert not region.objects()


@pytest.mark.parametrize("upload", ["", "x" * 81, 5, ["a"]])
def test_what_is_no_uploads_id_is_refused(region: Region, upload: object) -> None:
    """It never becomes a key of an object."""
    reply = region.ask("POST /v1/jobs", body={"model": MODEL, "input_upload": upload})

    assert (reply.status, reply.error["param"]) == (400, "input_upload")
    assert "GetObject" not in region.operations()


def test_either_an_input_or_an_upload(region: Region) -> None:
    """A job with two inputs, or none, is a mistake of its client."""
    upload = ready(region)

    both = region.ask("POST /v1/jobs", body={"model": MODEL, "input": 1, "input_upload": upload})
    none = region.ask("POST /v1/jobs", body={"model": MODEL})

    assert (both.status, both.error["param"]) == (400, "input_upload")
    assert (none.status, none.error["param"], none.error["code"]) == (400, "input", "missing_field")
    assert "input_upload" in none.error["message"]
