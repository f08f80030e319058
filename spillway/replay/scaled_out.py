"""Fleets that grew in the course of a replay."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from config.schema import Deployment

if TYPE_CHECKING:
    from spillway.twin.twin import Twin


@dataclass(frozen=True, slots=True)
class ScaleOut:
    """One fleet that grew; moments are seconds since the first request.

    Attributes:
        region: Where.
        model: Whose fleet.
        version: Of which version.
        why: What the alarm watches that asked for it.
        before: Instances before.
        after: Instances that were asked for.
        asked_s: When.
        served_s: When all of them served; None while they warm up.
    """

    region: str
    model: str
    version: str
    why: str
    before: int
    after: int
    asked_s: float
    served_s: float | None

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)


def scale_outs(twin: "Twin", deployment: Deployment, *, first_s: float) -> list[ScaleOut]:
    """What grew since the first request, in its order.

    Args:
        twin: On which the deployment runs.
        deployment: Whose fleets.
        first_s: When the first request came, on the twin's clock.
    """
    names = deployment.names
    fleets = {
        names.endpoint(model, version): (model, version)
        for model in deployment.models
        for version in deployment.models[model].versions
    }
    found = []
    for activity in twin.scaling.activities:
        endpoint, _, _ = activity.resource.removeprefix("endpoint/").partition("/")
        fleet = fleets.get(endpoint)
        grew = activity.after > activity.before and not activity.failed
        if fleet is None or not grew or activity.started_s < first_s:
            continue
        model, version = fleet
        found.append(
            ScaleOut(
                region=activity.region,
                model=model,
                version=version,
                why=activity.cause.rpartition("-")[2],
                before=activity.before,
                after=activity.after,
                asked_s=activity.started_s - first_s,
                served_s=None if activity.ended_s is None else activity.ended_s - first_s,
            )
        )
    return found
