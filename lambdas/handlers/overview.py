"""What a region offers and how it is: models, capacity, health."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.clock import now_s
from lambdas.domain.admission import Caller, load_of
from lambdas.domain.capacity import predicted_wait_s
from lambdas.domain.policy import Model, Policy, Tier
from lambdas.domain.regions import fenced
from lambdas.domain.requests import find_model
from lambdas.handlers.api import Request, Route, answer
from lambdas.handlers.snapshots import Snapshots

VERDICT_S_MAX = 30
"""An older verdict of beat is none: beat itself has stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Answers questions about one region."""

    policy: Policy
    snapshots: Snapshots

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {
            "GET /v1/models": self.models,
            "GET /v1/models/{id}": self.model,
            "GET /v1/capacity": self.capacity,
            "GET /health/live": self.live,
            "GET /health/ready": self.ready,
        }

    def models(self, request: Request) -> dict[str, Any]:
        """`GET /v1/models`: what the key may use."""
        caller = request.known_caller
        data = [self._model(model, caller) for model in self._models(caller)]
        return answer(200, {"object": "list", "data": data})

    def model(self, request: Request) -> dict[str, Any]:
        """`GET /v1/models/{id}`: one of them."""
        caller = request.known_caller
        name = str(request.parameters.get("id", ""))
        return answer(200, self._model(find_model(name, self.policy, caller, missing=404), caller))

    def _model(self, model: Model, caller: Caller) -> dict[str, Any]:
        return {
            "id": model.name,
            "object": "model",
            "owned_by": self.policy.deployment,
            "created": 0,
            "state": model.state,
            "versions": model.versions,
            "tiers": [tier.name for tier in self._tiers(caller)],
            "apis": list(model.apis),
            "input_bytes_max": model.input_bytes_max,
        }

    def capacity(self, request: Request) -> dict[str, Any]:
        """`GET /v1/capacity`: how long a job that is submitted now would wait."""
        caller, snapshot = request.known_caller, self.snapshots.here()
        data = []
        for model in self._models(caller):
            load = load_of(snapshot, model.name)
            tiers = {
                tier.name: {
                    "target_wait_s": tier.target_wait_s,
                    "predicted_wait_s": round(
                        predicted_wait_s(model, self.policy.tiers, tier.name, load), 3
                    ),
                    "waiting": load.waiting.get(tier.name, 0),
                }
                for tier in self._tiers(caller)
            }
            data.append({"model": model.name, "instances": load.instances, "tiers": tiers})
        return answer(200, {"object": "list", "data": data})

    def live(self, _request: Request) -> dict[str, Any]:
        """`GET /health/live`: the API answers."""
        return answer(200, {"status": "ok"})

    def ready(self, _request: Request) -> dict[str, Any]:
        """`GET /health/ready`: beat's verdict on the region, which Route 53 follows."""
        snapshot = self.snapshots.here()
        age_s = now_s() - snapshot.get("at_ms", 0) / 1000
        if age_s > VERDICT_S_MAX:
            return answer(503, {"status": "unavailable", "reason": "no verdict"})
        if fenced(snapshot, regions=len(self.policy.regions), now_ms=int(1000 * now_s())):
            return answer(503, {"status": "unavailable", "reason": "no lease"})
        if not snapshot.get("ready"):
            return answer(503, {"status": "unavailable", "reason": snapshot.get("reason", "")})
        return answer(200, {"status": "ok"})

    def _models(self, caller: Caller) -> list[Model]:
        return [model for model in self.policy.models.values() if caller.may_use(model.name)]

    def _tiers(self, caller: Caller) -> list[Tier]:
        return [
            tier for tier in self.policy.tiers if caller.tiers is None or tier.name in caller.tiers
        ]
