"""A replay on the twin's virtual clock: the deployment's own templates, a day in minutes."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import httpx

from config.schema import Deployment
from lambdas.domain import payloads
from lambdas.domain.job import parse_inference_id
from spillway.directory import add_tenant
from spillway.local import calls_of_jobs, directory, unfinished, work_left
from spillway.replay.course import Course
from spillway.replay.outage import Outage
from spillway.replay.plan import Request
from spillway.replay.report import Progress, Report
from spillway.twin.clock import Task
from spillway.twin.sagemaker import Request as Invocation
from spillway.twin.twin import Twin

TENANT: Final = "replay"
SETTLE_S: Final = 90.0
"""Before the first request: a minute until the first beats, which tell the gate its room."""
DRAIN_S_MAX: Final = 6 * 3600.0
"""After the last request: a job that has not ended by then is lost."""
LOOK_EVERY_S: Final = 1.0
"""A step of the replay, after which it is looked whether all jobs have ended."""
INSTANCES_EVERY_S: Final = 10.0
"""Between two looks at how many instances there are."""
PROGRESS_EVERY_S: Final = 0.5
"""Seconds of real time between two looks for the display: each costs some milliseconds."""


class VirtualReplay:
    """Requests against a twin.

    Args:
        twin: Deployed, on the virtual clock.
        deployment: What it runs.
        scaling: What scales its fleets, for the report.
    """

    def __init__(self, twin: Twin, deployment: Deployment, *, scaling: str = "alarms") -> None:
        self._twin = twin
        self._deployment = deployment
        self._jobs: dict[str, tuple[int, str]] = {}
        self._taken: dict[str, tuple[int, float]] = {}
        self._course = Course.of(deployment.tiers)
        self._report = Report.of(
            {name: deployment.tiers[name].target_wait_s for name in deployment.tiers}
        )
        self._report.course, self._report.scaling = self._course, scaling
        self._accepted: Callable[[httpx.Client, dict[str, Any]], object] = lambda *_: None

    def run(
        self,
        requests: Iterable[Request],
        *,
        show: Callable[[Progress], object] | None = None,
        check: Callable[[], object] = lambda: None,
        outage: Outage | None = None,
        accepted: Callable[[httpx.Client, dict[str, Any]], object] = lambda *_: None,
    ) -> Report:
        """Send every request at its time, wait until every job has ended, and count.

        Args:
            requests: In the order of their times; read one by one.
            show: Told how far things are, about twice a second.
            check: Called between two steps; what it raises ends the replay.
            outage: A region that is lost meanwhile; requests to it go to another one.
            accepted: Called in a task with each job as it was answered, and a client of the region
                that the request was for.
        """
        began = time.perf_counter()
        self._accepted = accepted
        clients = self._clients()
        scheduler = self._twin.scheduler
        scheduler.run_for(SETTLE_S)
        calls_before = calls_of_jobs(self._twin, self._deployment)
        self._twin.sagemaker.observers.append(self._take)
        first_s = scheduler.now()
        arrivals = scheduler.spawn(self._arrive, iter(requests), clients, first_s)
        if outage is not None:
            scheduler.at(first_s + outage.at_s, scheduler.spawn, outage.happen)
            self._report.outage = outage.seen
        shown = 0.0
        last_s = float("inf")
        while not (arrivals.done and self._idle()) and scheduler.now() < last_s:
            self._look_at_instances(first_s)
            scheduler.run_for(LOOK_EVERY_S)
            check()
            if arrivals.done:
                arrivals.result()
                last_s = min(last_s, scheduler.now() + DRAIN_S_MAX)
            if show is not None and time.perf_counter() - shown > PROGRESS_EVERY_S:
                shown = time.perf_counter()
                show(self._look(first_s))
        self._report.calls = calls_of_jobs(self._twin, self._deployment) - calls_before
        self._count(first_s)
        if show is not None:
            show(self._look(first_s))
        self._report.wall_s = time.perf_counter() - began
        return self._report

    def _clients(self) -> dict[str, httpx.Client]:
        key = add_tenant(
            directory(self._twin, self._deployment),
            TENANT,
            rate_per_s=10_000,
            in_flight_max=1_000_000,
        )
        clients = {region: self._twin.api(region) for region in self._deployment.regions}
        for client in clients.values():
            client.headers["Authorization"] = f"Bearer {key}"
        return clients

    def _arrive(
        self, requests: Iterator[Request], clients: dict[str, httpx.Client], first_s: float
    ) -> None:
        """The task that lets requests happen at their times; only the next one is in memory."""
        scheduler = self._twin.scheduler
        open_tasks: list[Task] = []
        for request in requests:
            scheduler.sleep(first_s + request.at_s - scheduler.now())
            open_tasks = [task for task in open_tasks if not task.done]
            open_tasks.append(scheduler.spawn(self._submit, clients, request))
        for task in open_tasks:
            scheduler.wait(task)

    def _submit(self, clients: Mapping[str, httpx.Client], request: Request) -> None:
        report = self._report
        report.offered += 1
        answer = self._answered(clients, request)
        if answer is None:
            report.turn_away("timeout")
            return
        document = answer.json()
        if answer.status_code in {httpx.codes.ACCEPTED, httpx.codes.OK}:
            report.tiers[request.tier].accepted += 1
            self._jobs[document["id"]] = (request.number, request.tier)
            self._accepted(clients[request.region], document)
        else:
            report.turn_away(str(document.get("error", {}).get("code", answer.status_code)))

    def _answered(
        self, clients: Mapping[str, httpx.Client], request: Request
    ) -> httpx.Response | None:
        """What a request is answered: by its region or, while that one cannot, by the next.

        It carries a key, so that a job which was accepted without an answer is found again.
        """
        body = {"model": request.model, "tier": request.tier, "input": request.body}
        headers = {"Idempotency-Key": f"row-{request.number}"}
        regions = list(clients)
        first, answer = regions.index(request.region), None
        for region in regions[first:] + regions[:first]:
            with suppress(httpx.TransportError):
                answer = clients[region].post("/v1/jobs", json=body, headers=headers)
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    break
        return answer

    def _look(self, first_s: float) -> Progress:
        report = self._report
        clock_s = self._twin.scheduler.now() - first_s
        work = work_left(self._twin, self._deployment)
        return Progress(clock_s, report.offered, report.accepted, work.queued, work.running)

    def _take(self, invocation: Invocation) -> None:
        """Note when an instance took an attempt for the first time, and what was taken again."""
        try:
            job, attempt = parse_inference_id(invocation.inference_id)
        except ValueError:  # Whoever else asks the endpoint names requests otherwise.
            return
        before, _ = self._taken.get(job, (0, 0.0))
        if attempt > before:
            self._taken[job] = (attempt, self._twin.scheduler.now())
        elif attempt == before:
            self._report.interrupted += 1

    def _look_at_instances(self, first_s: float) -> None:
        at_s, looks = self._twin.scheduler.now() - first_s, self._course.at_s
        if looks and at_s < looks[-1] + INSTANCES_EVERY_S:
            return
        endpoints = self._twin.sagemaker.endpoints()
        self._course.look(
            at_s,
            billed=sum(len(endpoint.instances) for endpoint in endpoints),
            serving=sum(len(endpoint.in_service) for endpoint in endpoints),
        )

    def _idle(self) -> bool:
        """Whether all jobs have ended; the ledger is asked when nothing else is left to do."""
        if not work_left(self._twin, self._deployment).none:
            return False
        return not unfinished(self._twin, self._deployment)

    def _count(self, first_s: float) -> None:
        """Read the whole ledger once: what became of every accepted job."""
        report = self._report
        last_s = first_s
        waiting = dict(self._jobs)
        for item in self._pages("scan", TableName=self._deployment.names.ledger):
            job = item["pk"]["S"].removeprefix("job#")
            ours = waiting.pop(job, None)
            if ours is None:
                continue
            row, tier = ours
            status = item["status"]["S"]
            report.end(tier, status if _is_theirs(item, row) else "swapped")
            moves = int(item.get("moves", {"N": "0"})["N"])
            report.moved += moves > 0
            report.retried += int(item["attempt"]["N"]) - moves > 1
            if job in self._taken:
                created_s = int(item["created_ms"]["N"]) / 1000
                wait_s = max(0.0, self._taken[job][1] - created_s)
                report.tiers[tier].started(wait_s)
                self._course.started(tier, created_s - first_s, wait_s)
            if "finished_ms" in item:
                last_s = max(last_s, int(item["finished_ms"]["N"]) / 1000)
        for _, tier in waiting.values():
            report.end(tier, "gone")
        report.simulated_s = last_s - first_s
        report.gpu_hours = self._twin.sagemaker.instance_seconds(first_s, last_s) / 3600

    def _pages(self, operation: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Items of the ledger as an operator sees them, page by page."""
        client = self._twin.operator(self._deployment.primary_region).client("dynamodb")
        for page in client.get_paginator(operation).paginate(ConsistentRead=False, **query):
            yield from page["Items"]


def _is_theirs(item: dict[str, Any], row: int) -> bool:
    """Whether a result, where it tells, belongs to the row that the job was made of."""
    if "output" not in item:
        return True
    answer = json.loads(payloads.unpack(item["output"]["B"]))
    return not isinstance(answer, dict) or answer.get("row", row) == row
