"""What CloudWatch computes of several metrics.

The page: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html.
"""

import pytest

from spillway.twin.metric_math import Math, Series
from spillway.twin.resources import UnsupportedError

DATA: dict[str, Series] = {
    "m1": [1, 2, None, 4],
    "m2": [10, 0, 30, None],
    "errors1": [None, None, None, None],
}


def result(expression: str, **data: Series) -> Series:
    """What an expression comes to."""
    return Math(list(data or DATA), {"e1": expression}).series("e1", data or DATA)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m1", [1, 2, None, 4]),
        ("-m1 + 1", [0, -1, None, -3]),
        ("m1 + m2", [11, 2, 30, 4]),
        ("m2 - m1 * 2", [8, -4, 30, -8]),
        ("100 * m1 / m2", [10, None, 0, None]),
        ("m1 / (m1 - 2)", [-1, None, None, 2]),
        ("SUM([m1, m2])", [11, 2, 30, 4]),
        ("SUM(METRICS())", [11, 2, 30, 4]),
        ('SUM(METRICS("m"))', [11, 2, 30, 4]),
        ('SUM(METRICS("errors"))', [None] * 4),
        ("MAX([m1, m2])", [10, 2, 30, 4]),
        ("MIN(METRICS())", [1, 0, 30, 4]),
        ("AVG([m1, m2])", [5.5, 1, 30, 4]),
        ("m1 / MAX(m1)", [0.25, 0.5, None, 1]),
        ("SUM(100/[m1, m2])", [110, 50, 100 / 30, 25]),
        ("SUM([m1,m2]/m1)", [11, 1, None, 1]),
        ("FILL(m1, 0)", [1, 2, 0, 4]),
        ("FILL(m1, REPEAT)", [1, 2, 2, 4]),
        ("FILL(m1, LINEAR)", [1, 2, 3, 4]),
        ("FILL(m1, m2)", [1, 2, 30, 4]),
        ("FILL(m1, MIN(m1))", [1, 2, 1, 4]),
        ("SUM(FILL(METRICS(), 1))", [12, 3, 32, 6]),
        ("CEIL(m1 / 2) + FLOOR(m1 / 2) + ABS(-m1)", [2, 4, None, 8]),
    ],
)
def test_expressions_come_to_what_the_page_says(expression: str, expected: Series) -> None:
    """An alarm that computes otherwise fires here and not in AWS, or the other way round.

    "Missing values in a time series are treated as 0. If the value of a data point causes a
    function to attempt to divide by zero, the data point is dropped."
    """
    assert result(expression) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("metric1 < metric2", [0, 0, 1, 0]),
        ("metric1 >= 30", [1, 0, 0, 0]),
        ("metric1 > 15 AND metric2 > 15", [1, 0, 0, 0]),
        ("metric1 > 15 && metric2 > 15 || metric1 == 0", [1, 0, 1, 1]),
    ],
)
def test_comparisons_are_those_of_the_table(expression: str, expected: Series) -> None:
    """A comparison is 1 or 0, and a gap beside a value counts as 0.

    "Comparison and logical operators": the table of examples.
    """
    assert result(expression, metric1=[30, 20, 0, 0], metric2=[20, None, 20, None]) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("IF(metric1, metric2, metric3)", [30, 0, 20, None, None]),
        ("IF(metric1, 5, metric3)", [5, 5, 20, None, None]),
        ("IF(metric1, metric2, 5)", [30, 0, 5, 5, None]),
        ("IF(metric1, metric2)", [30, 0, None, None, None]),
        ("IF(1, metric2, metric3)", [30, None, 0, 0, 30]),
        ("IF(metric2 < 30, 10, 2)", [2, None, 10, 10, 2]),
    ],
)
def test_conditions_are_those_of_the_tables(expression: str, expected: Series) -> None:
    """A guard that divides by few attempts excludes them with IF.

    "Using IF expressions": the tables of examples.
    """
    found = result(
        expression,
        metric1=[1, 1, 0, 0, None],
        metric2=[30, None, 0, 0, 30],
        metric3=[0, 0, 20, None, 20],
    )
    assert found == expected


def test_expressions_use_one_another() -> None:
    """A ratio of sums stays readable.

    "To use a metric or the result of another expression as part of the formula".
    """
    math = Math(["m1", "m2"], {"rate": "bad / good", "bad": "m1 * 2", "good": "m2 + 1"})
    assert math.series("rate", {"m1": [3], "m2": [1]}) == [3]


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("RATE(m1)", "function RATE is not run"),
        ("ANOMALY_DETECTION_BAND(m1)", "ANOMALY_DETECTION_BAND"),
        ("m1 ^ 2", "m1 . 2 is not run"),
        ("m1 < 2 < 3", "is not run"),
        ("NOT(m1)", "NOT"),
        ("'text'", "'text' is not run"),
        ("True", "True is not run"),
        ("m1.real", "m1.real"),
    ],
)
def test_what_is_not_run_is_refused_by_name(expression: str, error: str) -> None:
    """An expression that is silently computed otherwise would be worse than none."""
    with pytest.raises(UnsupportedError, match=error):
        result(expression)


@pytest.mark.parametrize(
    "expression",
    ["m1 +", "m9", "e1 + 1", "FILL(m1)", "METRICS(m1)", "5", "SUM(m1)", "METRICS()", "SUM(3)",
     "METRICS() + [m1]", "IF(m1, 1, 2, 3)", "FILL(m1, [m2])"],
)  # fmt: skip
def test_what_cloudwatch_would_refuse_is_refused(expression: str) -> None:
    """A mistake shows when the alarm is created.

    "The final result of any math expression must be a single time series".
    """
    with pytest.raises(ValueError, match=r".+"):
        result(expression)
