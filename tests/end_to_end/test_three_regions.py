"""Three regions: each takes and runs jobs, and all read one ledger."""

import pytest

from spillway import local
from spillway.testing import REPLICATED_S
from tests.end_to_end.world import Script, Tenant, World, noise


@pytest.fixture(scope="module")
def deployed() -> str:
    """Three serving regions, three replicas."""
    return "three_regions"


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant with one key for all regions."""
    return module_world.tenant()


def test_every_region_takes_and_runs_jobs(world: World, client: Tenant) -> None:
    """A region that only looks healthy takes its clients' jobs and never runs them."""
    world.model("small").answers(Script())
    regions = world.deployment.regions
    jobs = {region: client.submit(region=region, input={"name": region}) for region in regions}
    world.assert_rest()

    for region, job in jobs.items():
        view = client.view(job, region=region)
        assert (view["status"], view["region"]) == ("completed", region)
        assert view["output"] == {"answer": region}
        runs = [
            call
            for call in world.calls.of(operation="InvokeEndpointAsync")
            if call.params["InferenceId"].startswith(job)
        ]
        assert [call.region for call in runs] == [region]


def test_a_job_is_read_alike_in_every_region(world: World, client: Tenant) -> None:
    """A client that is routed elsewhere after a failover finds its jobs, at once."""
    world.model("small").answers(Script(), service_s=8)
    regions = world.deployment.regions
    jobs = [client.submit(region=region, input={"name": region}) for region in regions]

    for job in jobs:
        fields = ("id", "status", "attempt", "region", "created_at", "deadline_at")
        views = [client.view(job, region=region) for region in regions]
        assert len({tuple(view[field] for field in fields) for view in views}) == 1
    world.assert_rest()
    for region in regions:
        listed = client.client(region).get("/v1/jobs?limit=100").json()["data"]
        assert set(jobs) <= {job["id"] for job in listed}
        assert {client.view(job, region=region)["status"] for job in jobs} == {"completed"}


def test_a_job_is_cancelled_from_any_region(world: World, client: Tenant) -> None:
    """The region where a client's browser happens to end need not be the job's."""
    script = Script()
    world.model("small").answers(script, service_s=9)
    home, elsewhere, _ = world.deployment.regions
    for _ in range(4):
        client.submit(region=home, input={"name": "hold"})
    job = client.submit(region=home, input={"name": "unwanted"})

    answer = client.client(elsewhere).post(f"/v1/jobs/{job}/cancel")

    assert answer.json()["status"] == "cancelled"
    world.assert_rest()
    assert script.runs["unwanted"] == 0


@pytest.mark.parametrize("reader", [0, 1, 2])
def test_a_large_result_is_readable_and_erasable_from_every_region(
    world: World, client: Tenant, reader: int
) -> None:
    """It lies in one region's bucket; its link must lead there from anywhere."""
    world.model("small").answers(lambda request: {"noise": noise(180_000)})
    home, region = world.deployment.regions[1], world.deployment.regions[reader]
    job = client.submit(region=home, input={"name": "large", "noise": noise(60_000)})
    world.assert_rest()

    view = client.view(job, region=region)
    assert home in view["output_url"]
    item = world.ledger_item(job, region)
    stored = world.aws("s3", home).get_object(
        Bucket=world.names.bucket(home), Key=item["output_key"]["S"]
    )
    assert len(stored["Body"].read()) > 180_000

    assert client.client(region).delete(f"/v1/jobs/{job}").status_code == 200
    for place in world.deployment.regions:
        for bucket in (world.names.bucket(place), world.names.replica_bucket(place)):
            left = world.aws("s3", place).list_objects_v2(Bucket=bucket).get("Contents", ())
            assert not [each["Key"] for each in left if job in each["Key"]]


def test_a_large_input_is_in_two_regions_when_its_job_is_accepted(
    world: World, client: Tenant
) -> None:
    """An accepted job survives its region, input and all."""
    for number, home in enumerate(world.deployment.regions):
        after = world.deployment.regions[(number + 1) % 3]
        answer = client.post(
            {"model": "small", "input": {"name": "kept", "noise": noise(60_000)}}, region=home
        )
        key = world.ledger_item(answer.json()["id"])["input_key"]["S"]
        copies = [
            world.aws("s3", home).get_object(Bucket=world.names.bucket(home), Key=key),
            world.aws("s3", after).get_object(Bucket=world.names.replica_bucket(after), Key=key),
        ]
        assert len({copy["Body"].read() for copy in copies}) == 1


def test_an_upload_becomes_a_job_of_any_region_once_all_have_it(
    world: World, client: Tenant
) -> None:
    """A gigabyte is written once, by a client that may be led to another region afterwards."""
    world.model("small").answers(Script())
    home, elsewhere, _ = world.deployment.regions
    content = b'{"name": "uploaded"}'
    api, links = client.client(home), world.twin.link_client()
    upload = api.post("/v1/uploads", json={"bytes": len(content)}).json()
    written = links.put(upload["url"], content=content, headers=upload["headers"])
    assert written.status_code == 200
    asked = {"model": "small", "tier": "interactive", "input_upload": upload["id"]}

    early = client.post(asked, region=elsewhere)
    assert (early.status_code, early.json()["error"]["code"]) == (429, "upload_not_ready")
    world.run_for(float(early.headers["Retry-After"]) + 1)
    accepted = client.post(asked, region=elsewhere)
    assert accepted.status_code == 202, accepted.text
    job = accepted.json()["id"]
    world.assert_rest()

    view = client.view(job, region=home)
    assert (view["status"], view["region"]) == ("completed", elsewhere)
    assert view["output"] == {"answer": "uploaded"}
    (call,) = [
        call
        for call in world.calls.of(operation="InvokeEndpointAsync")
        if call.params["InferenceId"].startswith(job)
    ]
    # From the copy that is there: nothing was brought.
    assert call.params["InputLocation"].startswith(f"s3://{world.names.replica_bucket(elsewhere)}/")
    assert client.client(home).delete(f"/v1/jobs/{job}").status_code == 200
    for place in world.deployment.regions:
        for bucket in (world.names.bucket(place), world.names.replica_bucket(place)):
            left = world.aws("s3", place).list_objects_v2(Bucket=bucket).get("Contents", ())
            assert not [each["Key"] for each in left if upload["id"] in each["Key"]]


def test_a_region_whose_ledger_is_out_of_reach_is_not_ready_and_refuses(
    world: World, client: Tenant
) -> None:
    """Health checks must send clients away from a region that can accept nothing."""
    sick, well, _ = world.deployment.regions
    world.fail(
        "InternalServerError",
        service="dynamodb",
        caller_region=sick,
        times=None,
        when=lambda call: call.params.get("TableName") == world.names.ledger,
    )
    world.run_for(10)

    health = {
        region: client.client(region).get("/health/ready").status_code for region in (sick, well)
    }
    refused = client.post({"model": "small", "input": 1}, region=sick)

    assert health == {sick: 503, well: 200}
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "temporarily_unavailable"
    assert int(refused.headers["Retry-After"]) > 0
    job = client.submit(region=well)
    world.twin.hook.rules.clear()
    world.assert_rest()
    assert client.view(job)["status"] == "completed"
    world.run_for(10)
    assert client.client(sick).get("/health/ready").status_code == 200


def test_a_key_is_known_in_every_region_and_revoked_in_every_region(world: World) -> None:
    """A key that one region still opens is not revoked."""
    tenant = world.tenant()
    statuses = [
        tenant.client(region).get("/v1/models").status_code for region in world.deployment.regions
    ]
    tenant.revoke()
    after = [
        tenant.client(region).get("/v1/models").status_code for region in world.deployment.regions
    ]

    assert (statuses, after) == ([200] * 3, [401] * 3)


def test_two_regions_asked_at_once_make_one_job(world: World, client: Tenant) -> None:
    """A client that races two regions gets one job: the ledger decides, not the clock."""
    script = Script()
    world.model("small").answers(script)
    scheduler = world.twin.scheduler
    body = {"model": "small", "tier": "interactive", "input": {"name": "race"}}
    tasks = [
        scheduler.spawn(lambda region=region: client.post(body, key="race", region=region))
        for region in world.deployment.regions
    ]
    answers = [scheduler.call(scheduler.wait, task) for task in tasks]
    world.assert_rest()

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 2
    assert script.runs["race"] == 1


TOKENS = {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}


def test_what_a_tenant_used_anywhere_is_told_everywhere(world: World) -> None:
    """A bill that depends on where it is asked for is no bill."""
    world.model("small").answers(lambda request: TOKENS, service_s=2)
    tenant = world.tenant()
    for region in world.deployment.regions:
        tenant.submit(region=region)
    world.assert_rest()

    told = [tenant.client(region).get("/v1/usage").json() for region in world.deployment.regions]

    assert told[0] == told[1] == told[2]
    assert told[0]["missing_regions"] == []
    total = told[0]["total"]
    assert total["jobs"]["completed"] == 3
    assert total["tokens"] == {"input": 9, "output": 12}
    # Two at a time on an instance: a job of two seconds takes one of them, and its hand-over more.
    assert 3 <= total["gpu_s"] < 12
    price = world.deployment.policy().models["small"].usd_per_hour["v1"]
    assert total["cost_usd"] == pytest.approx(total["gpu_s"] * price / 3600, rel=0.01)


def test_a_region_gives_its_part_of_a_quota_and_no_more(world: World) -> None:
    """No region knows what the others gave just now."""
    world.model("small").answers(lambda request: TOKENS)
    tenant = world.tenant(tokens_per_day=3 * TOKENS["usage"]["total_tokens"])
    here, there, _ = world.deployment.regions
    tenant.submit(region=here)
    world.assert_rest()
    world.run_for(6)  # for so long submit believes what it read

    body = {"model": "small", "input": "more"}
    refused, taken = tenant.post(body, region=here), tenant.post(body, region=there)

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "token_quota")
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    assert taken.status_code == 202
    world.assert_rest()


def test_a_keys_end_and_scopes_hold_while_api_gateway_remembers_the_key(world: World) -> None:
    """A minute of more than was agreed is a minute in which anything can be asked."""
    tenant = world.tenant(metadata_mask={"email": "mask", "ssn": "drop"})
    operators = local.directory(world.twin, world.deployment)
    ends_ms = int(1000 * (world.twin.scheduler.now() + 30))
    key = operators.add_key_in_room(tenant.id, "short", scopes=["jobs:write"], expires_ms=ends_ms)
    world.run_for(REPLICATED_S)
    client = world.http_client(world.deployment.regions[-1], api_key=key)
    sent = {"email": "private@example.com", "ssn": "1", "run": "7"}
    body = {"model": "small", "input": "text", "metadata": sent}

    taken = client.post("/v1/jobs", json=body)
    unread = client.get("/v1/jobs")
    world.run_for(30)
    ended = client.post("/v1/jobs", json=body)

    assert taken.json()["metadata"] == {"email": "***", "run": "7"}
    assert (unread.status_code, unread.json()["error"]["code"]) == (403, "scope_missing")
    wrong = world.http_client(api_key="sk-spillway-" + "A" * 43).get("/v1/models")
    assert (ended.status_code, ended.json()) == (401, wrong.json())
    world.assert_rest()
