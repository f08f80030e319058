"""`GET /v1/usage`: what the caller's tenant used, added up over the regions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.logs import logger
from lambdas.adapters.usage import UsageCounters
from lambdas.domain.errors import unavailable
from lambdas.domain.policy import Policy
from lambdas.domain.requests import find_model
from lambdas.domain.usage import read_period, rows, total
from lambdas.handlers.api import Request, Route, answer

RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Answers what was used."""

    policy: Policy
    counters_in: Callable[[str], UsageCounters]

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {"GET /v1/usage": self.read}

    def read(self, request: Request) -> dict[str, Any]:
        """Add up every region's counters; a region that does not answer is named as missing.

        Raises:
            ApiError: 400 for what is no period or model, 503 if no region answers.
        """
        caller = request.known_caller
        period = read_period(request.query.get("from"), request.query.get("to"), now_ms=now_ms())
        model = request.query.get("model")
        counted: list[tuple[str, dict[str, int]]] = []
        missing = []
        for region in self.policy.regions:
            try:
                counted += self.counters_in(region).read(caller.tenant, period.days())
            except AWS_ERRORS as error:
                logger.warning("usage not read", region=region, reason=reason(error))
                missing.append(region)
        if len(missing) == len(self.policy.regions):
            raise unavailable(
                "What was used cannot be read now; try again.",
                code="temporarily_unavailable",
                retry_after_s=RETRY_AFTER_S,
            )
        data = rows(counted, model=model)
        if model is not None and not data:
            # One that is gone from the policy may still have been used.
            find_model(model, self.policy, caller)
        return answer(
            200,
            {
                "object": "usage",
                "from": period.first.isoformat(),
                "to": period.last.isoformat(),
                "data": data,
                "total": total(counted, model=model),
                "missing_regions": missing,
            },
        )
