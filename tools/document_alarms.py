"""Writes docs/alarms.md from the list of alarms that people read."""

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config.operator_alarms import (  # noqa: E402 the project's root first
    OperatorAlarm,
    Reading,
    Together,
    of_model,
    of_region,
)
from config.schema import Deployment, load  # noqa: E402
from spillway.cost import Prices  # noqa: E402

TARGET = ROOT / "docs" / "alarms.md"
HEAD = """# Alarms that people read

Generated from `config/operator_alarms.py` by `python tools/document_alarms.py`; a test checks it.

Each region tells its topic `NAME-alarms` when an alarm rings and when it is over; `alarms` in the
[configuration](configuration.md) says who reads it, and sets thresholds. The names here begin with
`NAME-alarm-`. Thresholds are those of `config/dev.yaml`, for its model `{model}`. What to do about
each is in its section of the [runbook](runbook.md). Alarms that take bad versions back,
`NAME-guard-MODEL-VERSION-…`, tell the same topic; those that scale fleets tell nobody.

| alarm | rings when | meaning | a month |
| --- | --- | --- | ---: |
"""


def document() -> str:
    """The whole page."""
    deployment = load(ROOT / "config" / "dev.yaml")
    model = next(iter(deployment.models))
    prices = Prices.load()
    page = HEAD.format(model=model)
    for title, alarms in (
        ("of a region", of_region(deployment, deployment.primary_region)),
        ("of a model, in each region", of_model(deployment, model)),
    ):
        page += f"| **{title}** | | | |\n"
        page += "".join(_row(alarm, deployment, model, prices) for alarm in alarms)
    examples = [_example(name, prices) for name in ("dev", "prod")]
    return page + "\n" + "".join(examples)


def _row(
    alarm: OperatorAlarm | Together, deployment: Deployment, model: str, prices: Prices
) -> str:
    start = deployment.names.alarm("")
    name = alarm.name.removeprefix(start)
    when = _when(alarm) if isinstance(alarm, OperatorAlarm) else _rule(alarm, start)
    cells = (f"[{name}](runbook.md#{alarm.section})", when, alarm.meaning)
    general = [cell.replace(model, "MODEL").replace(deployment.name, "NAME") for cell in cells]
    return f"| {' | '.join(general)} | ${_usd(alarm, prices):.2f} |\n"


def _when(alarm: OperatorAlarm) -> str:
    watched = alarm.readings.get("m")
    what = f"`{watched.metric}`" if watched else f"`{alarm.expression}`"
    if not watched:
        names = ", ".join(f"`{id_}` = {_series(one)}" for id_, one in alarm.readings.items())
        what = f"{what}, with {names},"
    minutes = alarm.period_s // 60
    often = (
        f"for {minutes * alarm.periods} min"
        if alarm.needed == alarm.periods
        else f"in {alarm.needed} of {alarm.periods} periods of {minutes} min"
    )
    missing = ", or there is no data" if alarm.missing == "breaching" else ""
    silent = "; on dashboards only" if alarm.silent else ""
    return f"{what} {alarm.sign} {alarm.threshold:g} {often}{missing}{silent}"


def _series(reading: Reading) -> str:
    index = reading.dimensions.get("GlobalSecondaryIndexName")
    of = f" of the index {index}" if index else ""
    return f"{reading.statistic.lower()} of `{reading.metric}`{of}"


def _rule(alarm: Together, start: str) -> str:
    rung = " or ".join(f"`{name.removeprefix(start)}`" for name in alarm.any_of)
    explained = " or ".join(f"`{name.removeprefix(start)}`" for name in alarm.unless)
    return f"{rung} rings" + (f", and not {explained}" if explained else "")


def _usd(alarm: OperatorAlarm | Together, prices: Prices) -> float:
    if isinstance(alarm, Together):
        return prices.meters["cloudwatch.composite_alarm_month"].usd
    return prices.meters["cloudwatch.alarm_month"].usd * len(alarm.readings)


def _example(name: str, prices: Prices) -> str:
    deployment = load(ROOT / "config" / f"{name}.yaml")
    alarms: list[OperatorAlarm | Together] = list(of_region(deployment, deployment.primary_region))
    for model, settings in deployment.models.items():
        alarms += of_model(deployment, model) if settings.state != "off" else ()
    regions = len(deployment.regions)
    usd = _sum(alarms, prices) * regions
    return f"- `config/{name}.yaml`: {regions * len(alarms)} alarms, ${usd:.2f} a month.\n"


def _sum(alarms: Iterable[OperatorAlarm | Together], prices: Prices) -> float:
    return sum(_usd(alarm, prices) for alarm in alarms)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
