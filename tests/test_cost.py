"""What a deployment costs, before anybody deploys it."""

import json
from pathlib import Path
from typing import Any

import pytest

from config.schema import Deployment, load
from spillway.cost import Cost, CostError, Counts, Inventory, Prices

ROOT = Path(__file__).resolve().parent.parent
COUNTS = Counts(
    basis="counted",
    dated="2026-11-20",
    profiles={
        "idle": {"ledger.write_unit": 4, "ledger.index_write_unit": 4, "api_gateway.request": 2},
        "loaded": {"sqs.request": 1},
        "waiting": {"lambda.gb_s": 0.5},
    },
    region_minute={"cloudwatch.put_metric_data": 12},
    model_region_minute={"gate.write_unit": 12},
)


def deployment(name: str = "dev", **changes: Any) -> Deployment:
    """One of the project's own configurations, with a few fields changed."""
    return load(ROOT / "config" / f"{name}.yaml").model_copy(update=changes)


def document(
    of: Deployment, inventory: Inventory | None = None, counts: Counts = COUNTS
) -> dict[str, Any]:
    """What `spillway cost --json` prints."""
    return Cost(of, inventory or Inventory(), Prices.load(), counts).document()


def parts(cost: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The hourly parts by what they are."""
    return {part["what"]: part for part in cost["hourly"]["parts"]}


def test_an_idle_fleet_is_priced_at_its_minimum_and_a_full_one_at_its_maximum() -> None:
    """Whoever deploys must see the GPU bill of a quiet night and of the worst day."""
    cost = parts(document(deployment()))

    embedder = cost["embedder v1: 1 to 2 ml.g5.xlarge x 3 regions"]
    assert embedder["idle"] == pytest.approx(3 * 1.408)
    assert embedder["maximum"] == pytest.approx(6 * 1.408)


def test_a_model_that_is_off_costs_no_gpu() -> None:
    """A model switched off to save money must not stay on the bill."""
    dev = deployment()
    off = {name: model.model_copy(update={"state": "off"}) for name, model in dev.models.items()}

    cost = document(dev.model_copy(update={"models": off}))

    assert not [part for part in cost["hourly"]["parts"] if part["service"] == "SageMaker"]
    assert cost["per_million_jobs"]["idle"]["apart"].keys() == {"waiting", "API Gateway"}


def test_versions_not_wanted_may_run_at_most_but_not_idle() -> None:
    """During a release two endpoints of a model can be full at once."""
    dev = deployment()
    chat = dev.models["chat"]
    two = chat.model_copy(update={"versions": {**chat.versions, "v2": chat.versions["v1"]}})

    cost = parts(document(dev.model_copy(update={"models": {"chat": two}})))

    assert cost["chat v2: 0 to 4 ml.g5.2xlarge x 3 regions"]["idle"] == 0
    assert cost["chat v2: 0 to 4 ml.g5.2xlarge x 3 regions"]["maximum"] == pytest.approx(18.18)


def test_an_unknown_instance_type_is_an_error_that_names_the_price_table() -> None:
    """A price of zero for a new GPU would be found on the invoice."""
    dev = deployment()
    chat = dev.models["chat"]
    odd = chat.versions["v1"].model_copy(update={"instance_type": "ml.q9.huge"})
    models = {"chat": chat.model_copy(update={"versions": {"v1": odd}})}

    with pytest.raises(CostError, match=r"instances\.yaml has no price for ml\.q9\.huge"):
        document(dev.model_copy(update={"models": models}))


def test_ledger_writes_are_paid_in_every_replica_and_the_witness() -> None:
    """A price per write that forgets the copies is a third of the bill."""
    three = document(deployment("dev"))["per_million_jobs"]["idle"]["services"]["DynamoDB"]
    witness = document(deployment("prod"))["per_million_jobs"]["idle"]["services"]["DynamoDB"]

    # Four writes in three places; their index writes only where there are indexes.
    assert three == pytest.approx((4 * 3 + 4 * 3) * 0.625)
    assert witness == pytest.approx((4 * 3 + 4 * 2) * 0.625)


def test_requests_gpu_and_waiting_are_shown_apart_from_the_path_of_a_job() -> None:
    """The path can be engineered; what every request costs at the door cannot."""
    jobs = document(deployment())["per_million_jobs"]["idle"]

    assert jobs["total"] == pytest.approx(sum(jobs["services"].values()))
    assert "API Gateway" not in jobs["services"]
    assert jobs["apart"]["API Gateway"] == pytest.approx(7.0)
    assert jobs["apart"]["waiting"] == pytest.approx(6.67)
    # 2.26 s of a place, of which an instance has 16, on a GPU for 1.515 dollars an hour.
    assert jobs["apart"]["GPU chat"] == pytest.approx(1.515 / 3600 * 2.26 / 16 * 1e6, rel=1e-3)


def test_what_costs_by_existing_is_counted_in_the_templates() -> None:
    """Keys, firewall rules, alarms and polling are on the bill of a deployment nobody uses."""
    template = {
        "Resources": {
            "Key": {"Type": "AWS::KMS::Key"},
            "Wall": {"Type": "AWS::WAFv2::WebACL", "Properties": {"Rules": [{}, {}, {}]}},
            "Slow": {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Period": 60}},
            "Fast": {
                "Type": "AWS::CloudWatch::Alarm",
                "Properties": {
                    "Metrics": [
                        {"Id": "a", "MetricStat": {"Period": 10}},
                        {"Id": "b", "MetricStat": {"Period": 10}},
                        {"Id": "c", "Expression": "a / b"},
                    ]
                },
            },
            "Board": {"Type": "AWS::CloudWatch::Dashboard"},
            "Results": {"Type": "AWS::Lambda::EventSourceMapping"},
            "Queue": {"Type": "AWS::SQS::Queue"},
        }
    }

    inventory = Inventory.of([template])
    cost = parts(document(deployment(), inventory))

    assert inventory.amounts == {
        "kms.key_month": 1,
        "waf.acl_month": 1,
        "waf.rule_month": 3,
        "cloudwatch.alarm_month": 1,
        "cloudwatch.fast_alarm_month": 2,
        "cloudwatch.dashboard_month": 1,
    }
    assert cost["3 WAF rules"]["idle"] == pytest.approx(3 / 730, abs=1e-6)
    # Fifteen long polls a minute, for 0.40 dollars a million.
    assert cost["polls of 1 event sources"]["idle"] == pytest.approx(900 * 0.4e-6, abs=1e-6)


def test_a_health_check_costs_its_price_and_what_it_asks() -> None:
    """Sixteen checkers at ten seconds are four million requests a month, for each region."""
    check = {"Type": "AWS::Route53::HealthCheck"}
    inventory = Inventory.of([{"Resources": {"Here": check}}, {"Resources": {"There": check}}])

    cost = document(deployment(), inventory)["hourly"]["parts"]

    asked = [part for part in cost if part["what"] == "requests of 2 health checks"]
    assert {part["service"] for part in asked} >= {"API Gateway", "WAF", "Lambda", "DynamoDB"}
    monthly = sum(part["idle"] for part in asked) / 2 * 730
    assert monthly == pytest.approx(19.12, abs=0.3)
    (standing,) = (part for part in cost if part["what"] == "2 health checks")
    assert standing["idle"] == pytest.approx(5 / 730, abs=1e-6)
    without = document(deployment())["hourly"]["parts"]
    assert not [part for part in without if "health" in part["what"]]


def test_metrics_are_paid_per_region_model_tier_and_version() -> None:
    """Every region and model adds to a bill that arrives without a single job."""
    cost = parts(document(deployment()))

    # Three regions, each with three series of its own and two models: 6 of the model, 2 of each of
    # 3 tiers, 4 of each version. Busy, 6 more of each version and 2 of each of its 3 tiers, 1 of
    # each model, 3 reasons of moves, 3 of the region.
    metrics = cost["105 to 201 custom metrics"]
    assert metrics["idle"] == pytest.approx(105 * 0.3 / 730, abs=1e-6)
    assert metrics["maximum"] == pytest.approx(201 * 0.3 / 730, abs=1e-6)


def test_an_estimate_says_so() -> None:
    """A guess that looks like a measurement ends up in somebody's budget."""
    estimate = Counts("estimate", "2026-11-20", COUNTS.profiles, {}, {})

    notes = document(deployment(), counts=estimate)["notes"]

    assert any("estimate" in note for note in notes)
    assert not any("estimate" in note for note in document(deployment())["notes"])


def test_a_region_that_the_table_does_not_cover_is_named() -> None:
    """Europe costs more than the table says, and the output has to admit it."""
    europe = deployment(regions=("eu-west-1",))

    assert any("eu-west-1" in note for note in document(europe)["notes"])


def test_a_folder_without_templates_is_an_error() -> None:
    """A wrong --assembly must not price an empty deployment."""
    with pytest.raises(CostError, match="holds no templates"):
        Inventory.read(ROOT / "docs")


def test_an_assembly_of_another_deployment_is_refused(tmp_path: Path) -> None:
    """Production's fleets with the trial's templates are a price of nothing."""
    (tmp_path / "Data.template.json").write_text("{}")
    stack = {"properties": {"stackName": "spillway-dev-Data"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": {"Data": stack}}))

    Inventory.read(tmp_path, "spillway-dev")
    with pytest.raises(CostError, match="another deployment than spillway-prod"):
        Inventory.read(tmp_path, "spillway-prod")


@pytest.mark.parametrize(
    "text", [None, "", "- 1", "dated: 2026-01-01", "meters: [", "dated: {a: 1"]
)
def test_a_price_table_that_is_none_is_named(tmp_path: Path, text: str | None) -> None:
    """A wrong file is told in a sentence, not by a stack trace."""
    path = tmp_path / "prices.yaml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(CostError, match=r"prices\.yaml"):
        Prices.load(path)


def test_the_shipped_tables_price_the_shipped_configurations() -> None:
    """A configuration or count that the price table does not know breaks `spillway cost`."""
    for name in ("dev", "prod"):
        cost = document(deployment(name), counts=Counts.load())
        assert cost["hourly"]["idle"] < cost["hourly"]["maximum"]
