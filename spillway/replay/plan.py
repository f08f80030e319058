"""From rows of a trace to requests: traces record neither tier nor region, so they are assigned."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from config.schema import TIERS, Deployment
from spillway.traces import Row

TIERS_DEFAULT: Final = "interactive=0.5,standard=0.3,batch=0.2"
REGIONS_DEFAULT: Final = "even"
WORDS_MAX: Final = 2000
"""Of a text made for a real model; longer ones are cut by every model that we start here."""


class PlanError(ValueError):
    """An assignment that the deployment cannot follow, with what is allowed."""


@dataclass(frozen=True, slots=True)
class Request:
    """One job to submit."""

    number: int
    at_s: float
    region: str
    model: str
    tier: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shares:
    """Names, drawn with given weights."""

    names: tuple[str, ...]
    bounds: tuple[float, ...]

    @classmethod
    def parse(cls, text: str, allowed: Iterable[str], what: str) -> "Shares":
        """Read `name=weight,name=weight`; weights need not add up to 1.

        Raises:
            PlanError: A name is not allowed, or the weights are no weights.
        """
        known = list(allowed)
        weights: dict[str, float] = {}
        for part in text.split(","):
            name, _, number = part.partition("=")
            name = name.strip()
            if name not in known:
                raise PlanError(f"{what}: {name!r} is not one of {', '.join(known)}")
            try:
                weights[name] = float(number or "1")
            except ValueError:
                raise PlanError(f"{what}: {number!r} is not a number") from None
        total = sum(weights.values())
        if not 0 < total < float("inf") or min(weights.values()) < 0:
            raise PlanError(f"{what}: weights must be 0 or more, one of them more than 0")
        bounds = accumulate(weight / total for weight in weights.values())
        return cls(tuple(weights), tuple(bounds))

    def draw(self, point: float) -> str:
        """The name at a point in [0, 1)."""
        return self.names[min(bisect_right(self.bounds, point), len(self.names) - 1)]


@dataclass(frozen=True, slots=True)
class Assignment:
    """How rows become requests.

    Every draw is a hash of seed and row, so the same trace gives the same requests wherever and
    in whatever order it is read. Tiers are drawn row by row; regions by session, so that a
    client stays where it is, and row by row where the trace knows no sessions.

    Attributes:
        deployment: Whose models and regions.
        tiers: Shares of the tiers.
        regions: Shares of the regions.
        model: The model for every row, or None for the row's own if the deployment has it and
            else the first whose service times the twin simulates.
        speed: How many times faster than recorded.
        seed: Of the draws.
    """

    deployment: Deployment
    tiers: Shares
    regions: Shares
    model: str | None = None
    speed: float = 1.0
    seed: int = 0

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        *,
        tiers: str = TIERS_DEFAULT,
        regions: str = REGIONS_DEFAULT,
        model: str | None = None,
        speed: float = 1.0,
        seed: int = 0,
    ) -> "Assignment":
        """Read the options.

        Raises:
            PlanError: An option names what the deployment does not have.
        """
        if model is not None and model not in deployment.models:
            raise PlanError(f"model: {model!r} is not one of {', '.join(deployment.models)}")
        if not 0 < speed < float("inf"):
            raise PlanError("speed: must be more than 0")
        everywhere = ",".join(deployment.regions) if regions == REGIONS_DEFAULT else regions
        return cls(
            deployment,
            Shares.parse(tiers, TIERS, "tiers"),
            Shares.parse(everywhere, deployment.regions, "regions"),
            model,
            speed,
            seed,
        )

    def requests(self, rows: Iterable[Row]) -> Iterator[Request]:
        """Turn rows into requests, one by one."""
        fallback = self.model or simulated_model(self.deployment)
        for number, row in enumerate(rows):
            own = row.model if row.model in self.deployment.models else fallback
            model = self.model or own
            yield Request(
                number=number,
                at_s=row.arrival_s / self.speed,
                region=self.regions.draw(self._point("region", row.session or number)),
                model=model,
                tier=self.tiers.draw(self._point("tier", number)),
                body=self._body(row, number, model),
            )

    def _body(self, row: Row, number: int, model: str) -> dict[str, Any]:
        """What the model gets: token counts, since traces have no text; text for a real model."""
        version = self.deployment.models[model].versions[self.deployment.models[model].wanted]
        tokens = row.input_tokens
        if tokens is None:
            tokens = version.service.input_tokens_typical
        if version.local_command is not None:
            return {"input": " ".join(["word"] * max(1, min(tokens, WORDS_MAX)))}
        answer = row.output_tokens
        if answer is None:
            answer = version.service.output_tokens_typical
        return {"input_tokens": tokens, "output_tokens": answer, "row": number}

    def _point(self, what: str, of: object) -> float:
        digest = hashlib.blake2b(f"{self.seed}|{what}|{of}".encode(), digest_size=7).digest()
        return int.from_bytes(digest) / 2**56


def simulated_model(deployment: Deployment) -> str:
    """The model that gets rows without one: the first whose service times the twin simulates."""
    for name, model in deployment.models.items():
        if model.versions[model.wanted].local_command is None and model.state == "live":
            return name
    return next(iter(deployment.models))


def tokens_in(body: Mapping[str, Any], *, typical: tuple[int, int]) -> tuple[float, float]:
    """Input and output tokens of a request's body, for simulated service times.

    A replayed body carries them; of any other, four bytes of text count as one token, and
    `max_tokens` bounds the answer.

    Args:
        body: The job's input.
        typical: Input and output tokens where the body does not say.
    """
    tokens = body.get("input_tokens")
    if not isinstance(tokens, int | float):
        text = sum(_letters(body.get(name)) for name in ("input", "prompt", "messages"))
        tokens = text / LETTERS_PER_TOKEN if text else typical[0]
    answer = body.get("output_tokens", body.get("max_tokens"))
    return float(tokens), float(answer) if isinstance(answer, int | float) else float(typical[1])


LETTERS_PER_TOKEN: Final = 4


def _letters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_letters(each) for each in value)
    if isinstance(value, dict):
        return _letters(value.get("content"))
    return 0
