"""submit: models, capacity and health."""

from tests.handlers.region import MODEL, Region


def test_a_key_sees_the_models_and_tiers_that_it_may_use(region: Region) -> None:
    """A list that promises more than the key may do ends in a 403."""
    region.configure(state="draining")

    everything = region.ask("GET /v1/models").json
    little = region.ask("GET /v1/models", models=MODEL, tiers="batch,standard").json
    nothing = region.ask("GET /v1/models", models="").json

    assert [model["id"] for model in everything["data"]] == [MODEL, "chat"]
    assert [model["state"] for model in everything["data"]] == ["draining", "live"]
    assert everything["data"][0]["tiers"] == ["interactive", "standard", "batch"]
    assert [model["id"] for model in little["data"]] == [MODEL]
    assert little["data"][0]["tiers"] == ["standard", "batch"]
    assert nothing == {"object": "list", "data": []}


def test_capacity_predicts_the_wait_of_each_tier(region: Region) -> None:
    """A client that may choose its tier chooses by this."""
    region.configure(service_s=1.0)
    region.see(in_use=4, waiting={"interactive": 8, "batch": 400})

    (embedder,) = region.ask("GET /v1/capacity", models=MODEL).json["data"]

    tiers = embedder["tiers"]
    assert embedder["instances"] == 1
    assert tiers["batch"]["waiting"] == 400
    waits = [tiers[name]["predicted_wait_s"] for name in ("interactive", "standard", "batch")]
    assert waits == sorted(waits)
    assert waits[0] < 5
    assert waits[2] > 90
    assert tiers["interactive"]["target_wait_s"] == 5


def test_a_live_region_says_so_without_a_call(region: Region) -> None:
    """Sixteen checkers ask every ten seconds, and AWS being ill must not look like our death."""
    assert region.ask("GET /health/live", tenant=None).status == 200
    assert region.calls == []


def test_a_region_is_ready_as_beat_says(region: Region) -> None:
    """Clients are sent away from a region that cannot write the ledger, and only then."""
    region.see()
    assert region.ask("GET /health/ready", tenant=None).status == 200

    region.see(ready=False)
    reply = region.ask("GET /health/ready", tenant=None)
    assert reply.status == 503
    assert reply.json["reason"] == "the ledger cannot be written"


def test_an_old_verdict_is_none(region: Region) -> None:
    """A region whose beat has stopped is not well, whatever it said last."""
    region.see()
    region.sleep(30)
    assert region.ask("GET /health/ready", tenant=None).status == 200
    region.sleep(1)
    assert region.ask("GET /health/ready", tenant=None).status == 503


def test_a_region_that_never_beat_is_not_ready(region: Region) -> None:
    """A region that is being deployed must not get clients yet."""
    assert region.ask("GET /health/ready", tenant=None).status == 503


def test_health_checks_share_one_read_for_two_seconds(region: Region) -> None:
    """The checks come whether there is work or not: they are the idle cost of a region."""
    region.see()
    for _ in range(10):
        region.ask("GET /health/ready", tenant=None)
    assert region.operations().count("GetItem") == 1

    region.sleep(2.1)
    region.ask("GET /health/ready", tenant=None)
    assert region.operations().count("GetItem") == 2
    assert not any(params.get("ConsistentRead") for _, params in region.calls)
