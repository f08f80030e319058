"""When a version is bad: the thresholds of the alarms that take it back."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from config.fields import Strict, problem


class Guards(Strict):
    """What a version may do within `window_s` before it is taken back; null is no guard."""

    window_s: Annotated[int, Field(ge=60, le=3600, description="whole minutes")] = 300
    attempts_min: Annotated[int, Field(ge=1, le=100_000)] = 20
    failed_share_max: Annotated[float | None, Field(ge=0, lt=1)] = 0.1
    slow_ratio_max: Annotated[float | None, Field(ge=1, le=100)] = 1.5
    service_p95_s_max: Annotated[float | None, Field(gt=0, le=3600)] = None
    invalid_share_max: Annotated[float | None, Field(ge=0, lt=1)] = 0.05
    refused_share_max: Annotated[float | None, Field(ge=0, lt=1)] = 0.2
    size_ratio_max: Annotated[float | None, Field(ge=1, le=1000)] = 3

    @model_validator(mode="after")
    def _whole_minutes(self) -> Self:
        if self.window_s % 60:
            raise problem("window_s", "must be whole minutes, like 300", self.window_s)
        return self
