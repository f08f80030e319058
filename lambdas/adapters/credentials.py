"""Notices when AWS refuses our own calls for want of a right: a role or key policy was changed.

Such refusals are handled where they happen, like any other; here somebody is told of them all.
"""

from dataclasses import dataclass
from typing import Any

from lambdas.adapters.clock import now_ms
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.domain import metrics
from lambdas.domain.failures import for_want_of_a_right


@dataclass(frozen=True, slots=True)
class Refusals:
    """Counts refusals in one region.

    Attributes:
        metrics: Where they are told.
        region: Where we are.
    """

    metrics: Metrics
    region: str

    def watch(self, client: Any) -> None:
        """Look at every answer that a client gets."""
        client.meta.events.register("after-call", self._look, unique_id="spillway-refusals")

    def count(self, *, service: str, operation: str, code: str) -> None:
        """Tell of a refusal; of codes alone, because messages name what was asked for."""
        logger.warning("credentials refused", service=service, operation=operation, code=code)
        told = [(metrics.CREDENTIALS_REFUSED, 1.0)]
        self.metrics.publish({"Region": self.region}, told, at_ms=now_ms())

    def _look(self, parsed: Any = None, model: Any = None, **_: Any) -> None:
        """See one answer, as botocore hands it to its handlers of `after-call`."""
        code = str((parsed or {}).get("Error", {}).get("Code", ""))
        if for_want_of_a_right(code):
            service = model.service_model.service_name
            self.count(service=service, operation=model.name, code=code)
