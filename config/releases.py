"""How new versions are released."""

import json
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from config.fields import Strict, problem
from config.guards import Guards
from lambdas.domain import payloads
from lambdas.domain import policy as policies

EVALUATION_S: Final = 60
"""Guards are evaluated every minute, and look at whole minutes."""
FINAL_BAKE_S: Final = 900


def bake_s_least(*, guard_window_s: int, invocation_timeout_s: int) -> int:
    """Seconds after which a step has shown what guards can see of it.

    A shorter one is judged by what happened before it, and ends before an attempt that hangs has
    failed.
    """
    return max(guard_window_s, invocation_timeout_s) + EVALUATION_S


class Release(Strict):
    """How a model's new version takes over; each region goes through it, one after the other."""

    canary_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    bake_s: Annotated[int | None, Field(ge=60, le=86_400)] = None
    final_bake_s: Annotated[int | None, Field(ge=60, le=604_800)] = None
    smoke: Annotated[tuple[Any, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def _smoke_fits(self) -> Self:
        for number, value in enumerate(self.smoke):
            if payloads.pack(json.dumps(value).encode()) is None:
                raise problem(
                    f"smoke.{number}",
                    f"must be at most {payloads.INLINE_BYTES_MAX} bytes of JSON when compressed: "
                    "smoke jobs travel within the ledger",
                )
        return self

    def domain(self, guards: Guards, *, invocation_timeout_s: int) -> policies.Releasing:
        """As the functions see it, with what the model's guards look at."""
        least_s = bake_s_least(
            guard_window_s=guards.window_s, invocation_timeout_s=invocation_timeout_s
        )
        return policies.Releasing(
            canary_share=self.canary_share,
            bake_s=self.bake_s or least_s,
            final_bake_s=self.final_bake_s or max(FINAL_BAKE_S, least_s),
            smoke=self.smoke,
            guard_window_s=guards.window_s,
            guard_attempts_min=guards.attempts_min,
        )
