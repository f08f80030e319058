"""A replay during which a region is lost."""

from pathlib import Path

from config.schema import load
from spillway import local
from spillway.replay.outage import Outage
from spillway.replay.virtual import VirtualReplay
from tests.replay.test_virtual import CANNED, from_trace

CONFIG = Path(__file__).resolve().parents[2] / "config" / "dev.yaml"


def test_a_region_that_dies_in_a_burst_costs_no_job() -> None:
    """The demo shows it to newcomers: it must be the truth, and not a quiet moment."""
    deployment = load(CONFIG)
    requests = from_trace(110, speed=40)
    with local.start(CONFIG, virtual=True, replaced=CANNED) as twin:
        outage = Outage(twin, deployment, region="us-east-2", at_s=1, jobs_min=3)
        report = VirtualReplay(twin, deployment).run(requests, outage=outage)

    assert (report.accepted, report.lost, report.ended) == (110, 0, {"completed": 110})
    assert report.moved >= outage.seen.held >= 3
    assert outage.seen.lost_s is not None
    assert outage.seen.lost_s <= 40
    assert outage.seen.moved_s is not None
    assert outage.seen.moved_s <= 100
    assert report.document()["outage"] == outage.seen.document()
