"""How rows of a trace become requests with a tier, a region and a model."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from config.schema import Deployment, load
from spillway import traces
from spillway.replay.plan import Assignment, PlanError, tokens_in
from spillway.traces import Row

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    """Three regions; `embedder` is a real model, `chat` a simulated one."""
    return load(ROOT / "config" / "dev.yaml")


def row(**changes: object) -> Row:
    """An ordinary row with some fields changed."""
    fields: dict[str, object] = {
        "arrival_s": 1.0,
        "input_tokens": 100,
        "output_tokens": 20,
        "model": "",
        "session": "",
    }
    return Row(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_same_trace_gives_the_same_requests(deployment: Deployment) -> None:
    """Two runs that differ only in luck cannot be compared."""
    rows = list(itertools.islice(traces.read(traces.SLICE), 200))

    first = list(Assignment.of(deployment, seed=1).requests(rows))

    assert first == list(Assignment.of(deployment, seed=1).requests(rows))
    assert first != list(Assignment.of(deployment, seed=2).requests(rows))


def test_tiers_and_regions_are_drawn_by_their_shares(deployment: Deployment) -> None:
    """A replay with another mix than the one asked for answers another question."""
    requests = list(Assignment.of(deployment).requests(traces.read(traces.SLICE)))
    tiers = Counter(request.tier for request in requests)
    regions = Counter(request.region for request in requests)

    assert tiers["interactive"] / len(requests) == pytest.approx(0.5, abs=0.05)
    assert tiers["standard"] / len(requests) == pytest.approx(0.3, abs=0.05)
    assert tiers["batch"] / len(requests) == pytest.approx(0.2, abs=0.05)
    assert all(
        count / len(requests) == pytest.approx(1 / 3, abs=0.05) for count in regions.values()
    )


def test_weights_need_not_add_up_and_may_leave_out(deployment: Deployment) -> None:
    """People write 2 and 1, not 0.6667 and 0.3333."""
    rows = [row()] * 600
    mixed = Assignment.of(deployment, tiers="interactive=2,batch", regions="us-west-2").requests(
        rows
    )
    counted = Counter((request.tier, request.region) for request in mixed)

    assert set(counted) == {("interactive", "us-west-2"), ("batch", "us-west-2")}
    assert counted["interactive", "us-west-2"] == pytest.approx(400, abs=40)


def test_a_session_stays_in_one_region(deployment: Deployment) -> None:
    """A client does not move to another coast between two requests."""
    rows = [row(session=f"s{number % 9}") for number in range(300)]
    requests = Assignment.of(deployment).requests(rows)

    regions: dict[str, set[str]] = {}
    for given, request in zip(rows, requests, strict=True):
        regions.setdefault(given.session, set()).add(request.region)

    assert all(len(where) == 1 for where in regions.values())
    assert len(set.union(*regions.values())) > 1


def test_the_model_is_the_rows_own_or_the_simulated_one(deployment: Deployment) -> None:
    """A trace of somebody else's models still has to land on ours."""
    rows = [row(model="embedder"), row(model="azure-code")]

    own = [request.model for request in Assignment.of(deployment).requests(rows)]
    forced = [request.model for request in Assignment.of(deployment, model="chat").requests(rows)]

    assert own == ["embedder", "chat"]
    assert forced == ["chat", "chat"]


def test_a_real_model_gets_text_and_a_simulated_one_counts(deployment: Deployment) -> None:
    """A real model answers 400 to token counts, and the replay would measure errors."""
    rows = [row(model="embedder", input_tokens=3), row(model="chat")]

    text, counts = (request.body for request in Assignment.of(deployment).requests(rows))

    assert text == {"input": "word word word"}
    assert counts == {"input_tokens": 100, "output_tokens": 20, "row": 1}


def test_unknown_token_counts_are_typical_ones(deployment: Deployment) -> None:
    """Blank is not zero: zero tokens would take no time."""
    blank = row(model="chat", input_tokens=None, output_tokens=None)

    (request,) = Assignment.of(deployment).requests([blank])

    assert request.body == {"input_tokens": 500, "output_tokens": 50, "row": 0}


def test_speed_squeezes_arrivals(deployment: Deployment) -> None:
    """Ten times the load is how a quiet trace becomes a test."""
    (request,) = Assignment.of(deployment, speed=10).requests([row(arrival_s=50.0)])

    assert request.at_s == 5.0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tiers": "urgent=1"}, "'urgent' is not one of interactive, standard, batch"),
        ({"tiers": "interactive=x"}, "'x' is not a number"),
        ({"tiers": "interactive=0"}, "weights must be"),
        ({"tiers": "interactive=-1,batch=2"}, "weights must be"),
        ({"tiers": ""}, "'' is not one of"),
        ({"regions": "mars-north-1"}, "'mars-north-1' is not one of us-east-1"),
        ({"model": "gpt"}, "'gpt' is not one of embedder, chat"),
        ({"speed": 0.0}, "speed"),
    ],
)
def test_an_impossible_assignment_says_what_is_allowed(
    deployment: Deployment, options: dict[str, object], problem: str
) -> None:
    """A typing error must not replay a trace somewhere else."""
    with pytest.raises(PlanError, match=problem):
        Assignment.of(deployment, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"input_tokens": 10, "output_tokens": 3}, (10, 3)),
        ({"prompt": "x" * 40, "max_tokens": 7}, (10, 7)),
        ({"messages": [{"role": "user", "content": "x" * 40}]}, (10, 50)),
        ({"input": ["x" * 20, "x" * 20]}, (10, 50)),
        ({}, (500, 50)),
    ],
)
def test_simulated_service_times_follow_the_size_of_a_request(
    body: dict[str, object], tokens: tuple[float, float]
) -> None:
    """A simulated model that takes as long for a novel as for a word shows nothing."""
    assert tokens_in(body, typical=(500, 50)) == tokens
