"""What a deployment's instances may cost, by the list of their prices or by what it says itself."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

INSTANCES = Path(__file__).with_name("instances.yaml")
HOURS_PER_MONTH = 730


@cache
def instance_prices() -> Mapping[str, float]:
    """Dollars an hour by instance type."""
    table = yaml.safe_load(INSTANCES.read_text(encoding="utf-8"))
    return {name: float(each["usd_per_hour"]) for name, each in table["instances"].items()}
