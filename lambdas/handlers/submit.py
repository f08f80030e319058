"""submit: the API's routes, all but the waiting."""

from collections.abc import Callable
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.directory import Directory
from lambdas.adapters.functions import Functions
from lambdas.adapters.logs import logger
from lambdas.domain.errors import ApiError
from lambdas.domain.job import Job
from lambdas.domain.policy import Policy
from lambdas.domain.requests import read_wait_s
from lambdas.handlers.accepting import Accepting
from lambdas.handlers.api import Request, answer, read_request, refusal
from lambdas.handlers.overview import Overview
from lambdas.handlers.ports import endings, functions_in, payload_store, queues_in
from lambdas.handlers.reading import Reading
from lambdas.handlers.snapshots import Snapshots
from lambdas.wiring import WAIT_FOR_FUNCTION, Execution, Function, Handler

RETRY_AFTER_UNAVAILABLE_S = 5


class Routes:
    """The routes of one execution environment."""

    def __init__(
        self,
        *,
        policy: Policy,
        accepting: Accepting,
        reading: Reading,
        overview: Overview,
        waiting: Callable[[], Functions],
    ) -> None:
        self._policy = policy
        self._accepting = accepting
        self._reading = reading
        self._waiting = waiting
        self.table: dict[str, Callable[[Request], dict[str, Any]]] = {
            "POST /v1/jobs": self._post,
            "GET /v1/jobs": reading.list_jobs,
            "GET /v1/jobs/{id}": self._get,
            "DELETE /v1/jobs/{id}": reading.erase,
            "POST /v1/jobs/{id}/cancel": reading.cancel,
            "GET /v1/models": overview.models,
            "GET /v1/capacity": overview.capacity,
            "GET /health/live": overview.live,
            "GET /health/ready": overview.ready,
        }

    def _post(self, request: Request) -> dict[str, Any]:
        wait_s = self._wait_s(request)
        job, replayed, snapshot = self._accepting.accept(request)
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        place = f"{request.path.rstrip('/')}/{job.id}"
        job, waited = self._wait(self._reading.settled(job) if replayed else job, wait_s)
        if job.status.terminal and (waited or replayed):
            return answer(200, self._reading.view(job), {"Location": place, **headers})
        if waited:
            return _wait_on(job, place, wait_s, headers)
        return answer(202, self._reading.view(job, snapshot), {"Location": place, **headers})

    def _get(self, request: Request) -> dict[str, Any]:
        wait_s = self._wait_s(request)
        job = self._reading.find(request)
        if wait_s and not job.status.terminal:
            job, waited = self._wait(job, wait_s)
            if waited and not job.status.terminal:
                return _wait_on(job, request.path, wait_s, {})
            if not waited:
                return answer(202, self._reading.view(job), {"Retry-After": "1"})
        return answer(200, self._reading.view(job))

    def _wait_s(self, request: Request) -> int:
        return read_wait_s(
            request.headers.get("prefer"), request.query.get("wait"), self._policy.wait_s_max
        )

    def _wait(self, job: Job, wait_s: int) -> tuple[Job, bool]:
        """Wait in the function that is there for it; the job after it, and whether it waited."""
        if (
            not wait_s
            or job.status.terminal
            or not self._waiting().wait(job=job.id, seconds=wait_s)
        ):
            return job, False
        return self._reading.ledger.get(job.id) or job, True


def _wait_on(job: Job, path: str, wait_s: int, headers: dict[str, str]) -> dict[str, Any]:
    """Send the client to a GET that waits on; ordinary clients follow, keeping their key."""
    return answer(
        303,
        {"id": job.id, "object": "job", "status": job.status.value},
        {"Location": f"{path}?wait={wait_s}", "Retry-After": "0", **headers},
    )


def create(execution: Execution) -> Handler:
    """Wire the API of an execution environment."""
    shared, store = endings(execution), payload_store(execution)
    directory = Directory(execution.client("dynamodb"), execution.names.directory)
    snapshots = Snapshots(region=execution.region, gate=shared.gate, directory=directory)
    routes = Routes(
        policy=execution.policy,
        accepting=Accepting(
            region=execution.region,
            policy=execution.policy,
            ledger=shared.ledger,
            gate=shared.gate,
            queues_in=queues_in(execution),
            payloads=store,
            directory=directory,
            functions_in=functions_in(execution),
            outcomes=shared.outcomes,
        ),
        reading=Reading(
            policy=execution.policy, endings=shared, payloads=store, snapshots=snapshots
        ),
        overview=Overview(policy=execution.policy, snapshots=snapshots),
        # Most requests do not wait; the first one that does makes the client for it.
        waiting=lambda: Functions(execution.client("lambda", WAIT_FOR_FUNCTION), execution.names),
    )

    def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        try:
            request = read_request(event)
        except ApiError as error:
            return refusal(error)
        try:
            return routes.table[request.route](request)
        except ApiError as error:
            return refusal(error)
        except AWS_ERRORS as error:
            # Without the trace: what AWS says may quote the request.
            logger.error(
                "a service did not answer",
                route=request.route,
                operation=getattr(error, "operation_name", ""),
                reason=reason(error),
            )
            return refusal(
                ApiError(
                    503,
                    "server_error",
                    "temporarily_unavailable",
                    "The request could not be completed; repeat it with its Idempotency-Key.",
                    retry_after_s=RETRY_AFTER_UNAVAILABLE_S,
                )
            )

    return handle


handle = Function(create)
