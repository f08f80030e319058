"""Metrics by log lines, as CloudWatch reads them."""

import json
import time

import pytest

from lambdas.adapters.metrics import Metrics
from lambdas.domain import metrics


def test_a_series_has_the_dimensions_that_alarms_know(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dimension that the library adds on AWS makes another series, and alarms hear nothing."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "spillway")

    Metrics("Spillway/x").publish(
        {"Model": "chat"}, [(metrics.PRESSURE, 1.5)], at_ms=int(time.time() * 1000)
    )

    document = json.loads(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Model"]]
    assert "service" not in document
