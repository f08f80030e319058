"""A job that its model cannot answer is answered by the other one, by the deployed stacks."""

from typing import Any

import pytest

from tests.end_to_end.test_metrics_of_jobs import total
from tests.end_to_end.world import Tenant, World


@pytest.fixture(scope="module")
def deployed() -> str:
    """Two models, one of which takes over from the other."""
    return "two_models"


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant of its own."""
    return module_world.tenant(webhooks=True)


def fails(_: Any) -> Any:
    """Never answer."""
    raise RuntimeError("out of memory")


def test_a_job_that_its_model_fails_is_answered_by_the_fallback(
    world: World, client: Tenant
) -> None:
    """Whoever is paged for the large model has time while the small one answers."""
    world.model("small").answers(fails)
    world.model("spare").answers(lambda request: {"spare": request})

    jobs = [
        client.submit(input={"text": f"job {n}"}, webhook="https://example.com/x") for n in range(3)
    ]
    world.assert_rest()

    for number, job in enumerate(jobs):
        view = client.view(job)
        assert (view["status"], view["attempt"], view["model"]) == ("completed", 3, "small")
        assert view["output"] == {"spare": {"text": f"job {number}"}}
        assert view["answered_by"] == {"model": "spare", "version": "v1"}
    assert world.slots("small") == world.slots("spare") == set()
    told = b"".join(body for _, body in world.delivered)
    assert told.count(b'"model":"small"') == len(jobs)
    assert total(world, "FellBack", Model="small") == len(jobs)
    assert total(world, "Failed", Model="small", Version="v1") == len(jobs), "first attempts"
    assert total(world, "Completed", Model="spare", Version="v1") == len(jobs)


def test_a_job_that_its_model_would_start_too_late_goes_to_the_fallback(
    world: World, client: Tenant
) -> None:
    """It would be refused, beside a model that has nothing to do."""
    world.model("small").answers(lambda request: {"small": request}, service_s=8)
    world.model("spare").answers(lambda request: {"spare": request})
    patient = [client.submit(tier="batch", input={"text": f"{n}"}) for n in range(16)]
    world.run_for(6)

    late = client.submit(tier="batch", input={"text": "late"}, deadline_s=30)
    world.assert_rest()

    view = client.view(late)
    assert (view["model"], view["attempt"]) == ("small", 1)
    assert view["answered_by"] == {"model": "spare", "version": "v1"}
    assert {client.view(job)["answered_by"]["model"] for job in patient} == {"small"}


def test_messages_that_are_lost_cost_minutes_and_no_job(world: World, client: Tenant) -> None:
    """An operator who purges the wrong queue has not deleted anybody's work."""
    world.model("small").answers(lambda request: {"small": request}, service_s=8)
    jobs = [client.submit(tier="batch", input={"text": f"{n}"}) for n in range(6)]
    world.run_for(5)
    world.aws("sqs").purge_queue(QueueUrl=world.queue_url("batch"))

    world.run_for(420)

    assert {client.view(job)["status"] for job in jobs} == {"completed"}
    world.assert_rest()
