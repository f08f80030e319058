"""How often a tenant asks for something new: counted in the gate, and refused above its rate."""

from dataclasses import dataclass, field

from lambdas.adapters.clock import now_s
from lambdas.adapters.gate import RATE_WINDOW_S, Gate
from lambdas.domain.admission import Caller
from lambdas.domain.allowance import Allowance
from lambdas.domain.errors import busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Counts what one region's execution environment is asked for.

    Attributes:
        gate: Where it is counted.
        allowance: What of that this environment has counted ahead.
    """

    gate: Gate
    allowance: Allowance = field(default_factory=Allowance)

    def count(self, caller: Caller) -> None:
        """Count a submission, or another request that writes: an upload, a file, feedback.

        Raises:
            ApiError: The tenant has used up its rate; tells when there is more.
        """
        at_s = now_s()
        window = int(at_s // RATE_WINDOW_S)
        limit = max(1, int(caller.rate_per_s * RATE_WINDOW_S))

        def count(number: int) -> bool:
            counted = self.gate.count_submissions(caller.tenant, number, window=window, limit=limit)
            return counted is not None

        if not self.allowance.take(caller.tenant, window=window, limit=limit, count=count):
            raise busy(
                f"You may submit {caller.rate_per_s:g} jobs a second, counted over "
                f"{RATE_WINDOW_S} s; what else writes counts like a job.",
                code="rate_limit",
                retry_after_s=RATE_WINDOW_S - at_s % RATE_WINDOW_S,
            )
