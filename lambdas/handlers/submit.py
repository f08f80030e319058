"""submit: the API's routes, all but the waiting."""

from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.clock import now_ms
from lambdas.adapters.directory import Directory
from lambdas.adapters.files import FileRecords
from lambdas.adapters.functions import Functions
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.signing import Signings
from lambdas.domain.access import check_access
from lambdas.domain.errors import ApiError
from lambdas.handlers.accepting import Accepting
from lambdas.handlers.api import Route, read_request, refusal
from lambdas.handlers.batch_routes import BatchRoutes
from lambdas.handlers.completions import Completions
from lambdas.handlers.counting import Quotas
from lambdas.handlers.deliveries import Deliveries
from lambdas.handlers.description import Description
from lambdas.handlers.endings import Endings
from lambdas.handlers.feedback import Feedback
from lambdas.handlers.files import Files
from lambdas.handlers.jobs import Jobs
from lambdas.handlers.overview import Overview
from lambdas.handlers.ports import (
    endings,
    file_objects,
    functions_in,
    payload_store,
    queues_in,
    upload_buckets,
    usage_in,
)
from lambdas.handlers.rates import Rates
from lambdas.handlers.reading import Reading
from lambdas.handlers.repeating import Repeating
from lambdas.handlers.responses import Responses
from lambdas.handlers.snapshots import Snapshots
from lambdas.handlers.uploads import Uploads
from lambdas.handlers.usage import Usage
from lambdas.handlers.waiting import Waiting
from lambdas.wiring import WAIT_FOR_FUNCTION, Execution, Function, Handler

RETRY_AFTER_UNAVAILABLE_S = 5


def routes_of(execution: Execution, shared: Endings | None = None) -> dict[str, Route]:
    """Wire what answers each route of the API; `shared` ends jobs, as some routes do."""
    shared = shared or endings(execution)
    store = payload_store(execution)
    directory = Directory(execution.client("dynamodb"), execution.names.directory)
    snapshots = Snapshots(region=execution.region, gate=shared.gate, directory=directory)
    rates = Rates(gate=shared.gate)
    uploads = Uploads(
        region=execution.region,
        policy=execution.policy,
        buckets=upload_buckets(execution),
        ledger=shared.ledger,
        rates=rates,
    )
    accepting = Accepting(
        region=execution.region,
        policy=execution.policy,
        ledger=shared.ledger,
        gate=shared.gate,
        queues_in=queues_in(execution),
        payloads=store,
        signings=Signings(execution.client("dynamodb"), execution.names.directory),
        functions_in=functions_in(execution),
        outcomes=shared.outcomes,
        quotas=Quotas(policy=execution.policy, counters=shared.usage.counters),
        rates=rates,
        uploads=uploads,
    )
    reading = Reading(
        policy=execution.policy,
        endings=shared,
        payloads=store,
        uploads=uploads,
        snapshots=snapshots,
    )
    waiting = Waiting(
        policy=execution.policy,
        ledger=shared.ledger,
        gate=shared.gate,
        # Most requests do not wait; the first one that does makes the client for it.
        functions=lambda: Functions(execution.client("lambda", WAIT_FOR_FUNCTION), execution.names),
    )
    jobs = Jobs(policy=execution.policy, accepting=accepting, reading=reading, waiting=waiting)
    deliveries = Deliveries(rates=rates, reading=reading, outbox=shared.outbox)
    overview = Overview(policy=execution.policy, snapshots=snapshots)
    completions = Completions(
        policy=execution.policy,
        accepting=accepting,
        reading=reading,
        waiting=waiting,
        repeating=Repeating(ledger=shared.ledger, sleep=execution.sleep),
    )
    files = Files(
        region=execution.region,
        policy=execution.policy,
        records=FileRecords(execution.client("dynamodb"), execution.names.ledger),
        objects=file_objects(execution),
        payloads=store,
        snapshots=snapshots,
        rates=rates,
        uploads=uploads,
    )
    return {
        **jobs.routes(),
        **uploads.routes(),
        **completions.routes(),
        **Responses(completions=completions, reading=reading).routes(),
        **deliveries.routes(),
        **files.routes(),
        **BatchRoutes(
            region=execution.region,
            policy=execution.policy,
            records=BatchRecords(execution.client("dynamodb"), execution.names.ledger),
            files=files,
            functions=shared.functions,
            rates=rates,
            quotas=accepting.quotas,
            signings=accepting.signings,
            sleep=execution.sleep,
        ).routes(),
        **overview.routes(),
        **Usage(policy=execution.policy, counters_in=usage_in(execution)).routes(),
        **Feedback(
            endings=shared,
            reading=reading,
            metrics=Metrics(execution.names.metrics),
            rates=rates,
        ).routes(),
        **Description(execution.description).routes(),
    }


def create(execution: Execution) -> Handler:
    """Wire the API of an execution environment."""
    shared = endings(execution)
    routes = routes_of(execution, shared)

    def answered(event: dict[str, Any]) -> dict[str, Any]:
        try:
            request = read_request(event)
        except ApiError as error:
            return refusal(error)
        try:
            if request.caller is not None:
                check_access(request.caller, request.route, now_ms=now_ms())
            return routes[request.route](request)
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

    def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        reply = answered(event)
        shared.usage.write()  # of what a request ended, whatever it was answered
        return reply

    return handle


handle = Function(create)
