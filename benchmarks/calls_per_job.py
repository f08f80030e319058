"""What a million jobs cost: every call of a 1 KB job and one read of it, counted and priced.

The deployment runs on the twin. *Idle*: one job at a time, more than a minute apart, so that
nothing is shared and every authorization is a new one. *Loaded*: a thousand jobs that wait at
once; then each is read. The deletion at the end of the retention is made to happen, counted, and
added to both. Prices are those of spillway/prices.yaml, by the arithmetic of `spillway cost`.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from moto.dynamodb.models import dynamodb_backends

from benchmarks import prose
from benchmarks.meter import (
    BACKGROUND,
    INDEXES,
    SOCKET_CPU_S,
    Meter,
    plain,
    processor_time,
)
from benchmarks.options import Options
from benchmarks.report import Figure, Report, Rows
from benchmarks.units import item_bytes
from config.schema import Deployment, Service, load
from spillway import local
from spillway.cost import COUNTS, Cost, Counts, Inventory, Prices
from spillway.directory import add_tenant
from spillway.twin.containers import Answer, Simulated
from spillway.twin.twin import Twin

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = {
    "two replicas and a witness": ROOT / "config" / "prod.yaml",
    "three replicas": ROOT / "config" / "dev.yaml",
}
TARGETS = {
    ("two replicas and a witness", "idle"): 25.0,
    ("two replicas and a witness", "loaded"): 20.0,
    ("three replicas", "idle"): 28.0,
    ("three replicas", "loaded"): 22.0,
}
MODELS = ("embedder", "chat")
"""A fast and a slow one: what finishes together is worked off together."""
TIER, TENANT = "standard", "bench"
IDLE_JOBS, IDLE_EVERY_S, READ_AFTER_S = 10, 67.0, 5.0
BACKLOG_JOBS = 1000
SUBMIT_EVERY_S = 0.003
QUIET_S = 600.0
DRAIN_S_MAX = 3600.0
PROFILES = ("idle", "loaded", "slow")
LABELS = {"idle": "idle", "loaded": "loaded", "slow": "loaded, slow model"}


@dataclass(slots=True, kw_only=True)
class Counted:
    """What one deployment used.

    Attributes:
        deployment: Which.
        profiles: Amounts per job by meter; `idle`, `loaded`, and what `waiting` adds.
        background: Amounts per minute by `region` and `model`.
        calls: Per job, by profile and (function, operation).
        drained_s: How long the backlog took to drain, by model.
        cpu_ms: Processor milliseconds of one execution, by function.
        stored_bytes: Of one job that has ended, its index entry included.
    """

    deployment: Deployment
    profiles: dict[str, dict[str, float]]
    background: dict[str, dict[str, float]]
    calls: dict[str, dict[tuple[str, str], float]]
    drained_s: dict[str, float]
    cpu_ms: dict[str, float]
    stored_bytes: float


class Bench:
    """A deployment on a twin, with a tenant that may do everything."""

    def __init__(
        self, twin: Twin, deployment: Deployment, cpu_s: Mapping[str, list[float]]
    ) -> None:
        self.twin, self.deployment, self._cpu_s = twin, deployment, cpu_s
        key = add_tenant(
            local.directory(twin, deployment), TENANT, rate_per_s=10_000, in_flight_max=1_000_000
        )
        self.client = twin.api(deployment.primary_region)
        self.client.headers["Authorization"] = f"Bearer {key}"
        twin.scheduler.run_for(120)
        for _ in range(2):  # Warm environments; what their start costs is measured apart.
            self.read(self.submit())
        twin.scheduler.run_for(120)

    def submit(self, model: str = MODELS[0], query: str = "") -> str:
        """Submit the job; returns its id."""
        body = {"model": model, "tier": TIER, "input": prose.job()}
        reply = self.client.post(f"/v1/jobs{query}", json=body, follow_redirects=True)
        assert reply.status_code in (200, 202), reply.text
        return str(reply.json()["id"])

    def read(self, job: str, *, after_s: float = READ_AFTER_S) -> None:
        """Read a job that has ended."""
        if after_s:
            self.twin.scheduler.run_for(after_s)
        reply = self.client.get(f"/v1/jobs/{job}")
        assert reply.json()["status"] == "completed", reply.text

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Count what happens within."""
        meter = Meter(self.twin, self.deployment, self._cpu_s)
        yield meter
        meter.stop()

    def quiet(self) -> dict[str, dict[str, float]]:
        """Nothing happens but beat and sweep: amounts per minute of the whole deployment."""
        with self.metered() as meter:
            self.twin.scheduler.run_for(QUIET_S)
        return {part: scaled(meter.of(part), 60 / QUIET_S) for part in ("region", "model")}

    def idle(self, query: str = "") -> tuple[Meter, float]:
        """One job at a time; returns the minutes, too."""
        began_s = self.twin.scheduler.now()
        with self.metered() as meter:
            for _ in range(IDLE_JOBS):
                self.read(self.submit(query=query))
                self.twin.scheduler.run_for(IDLE_EVERY_S - READ_AFTER_S)
        return meter, (self.twin.scheduler.now() - began_s) / 60

    def loaded(self, model: str) -> tuple[Meter, float, float]:
        """A thousand jobs at once, then a read of each; minutes, and seconds of the draining."""
        scheduler = self.twin.scheduler
        began_s = scheduler.now()
        jobs: list[str] = []
        with self.metered() as meter:
            for number in range(BACKLOG_JOBS):
                scheduler.after(
                    number * SUBMIT_EVERY_S,
                    scheduler.spawn,
                    lambda: jobs.append(self.submit(model)),
                )
            drained = scheduler.run_until_true(
                lambda: len(jobs) == BACKLOG_JOBS and not self._live(), DRAIN_S_MAX, every_s=1
            )
            assert drained, "the backlog was not worked off"
            drained_s = scheduler.now() - began_s
            for job in jobs:
                self.read(job, after_s=0)
        return meter, (scheduler.now() - began_s) / 60, drained_s

    def forget(self) -> dict[str, float]:
        """Let the retention pass, and the deletion happen: amounts per deleted job."""
        twin, scheduler = self.twin, self.twin.scheduler
        for arn in list(twin.schedules._rules):  # noqa: SLF001 a week of beats takes an hour
            twin.schedules.enable(arn, enabled=False)
        scheduler.run_for(self.deployment.limits.retention_s + 86_400)
        sweep = self.deployment.names.function("sweep")
        forgotten: list[int] = []
        with self.metered() as meter:
            while not forgotten or forgotten[-1]:
                scheduler.run_for(3600 - scheduler.now() % 3600 + 1)
                found = 0
                for region in self.deployment.regions:
                    task = twin.functions.invoke(region, sweep, {})
                    found += scheduler.call(scheduler.wait, task).json()["forgotten"]
                forgotten.append(found)
        assert sum(forgotten) >= BACKLOG_JOBS, "the sweep has not deleted the jobs"
        both = Counter(meter.of("region"))
        both.update(meter.of("model"))
        return scaled(both, 1 / sum(forgotten))

    def stored_bytes(self) -> float:
        """Of a job that has ended: item, index entry, and 100 bytes that each is billed."""
        sizes = [
            item_bytes(item) + item_bytes(INDEXES[1].entry(item) or {}) + 200
            for item in map(plain, self._ledger().all_items())
            if "finished_ms" in item
        ]
        return sum(sizes) / len(sizes)

    def _live(self) -> int:
        return sum("live" in item.attrs for item in self._ledger().items.values())

    def _ledger(self) -> Any:
        region = self.deployment.primary_region
        return dynamodb_backends[self.twin.account][region].tables[self.deployment.names.ledger]


def scaled(amounts: Mapping[str, float], factor: float) -> dict[str, float]:
    """Amounts times a factor."""
    return {name: amount * factor for name, amount in amounts.items()}


def per_job(
    meter: Meter, jobs: int, quiet: Mapping[str, Mapping[str, float]], minutes: float
) -> dict[str, float]:
    """What one job used: its own functions, and what beat and sweep did more than without jobs."""
    amounts = Counter(meter.of("job"))
    for part, rate in quiet.items():
        for name, amount in meter.of(part).items():
            amounts[name] += max(0.0, amount - rate.get(name, 0.0) * minutes)  # type: ignore[assignment]
    return scaled(amounts, 1 / jobs)


def count(config: Path) -> Counted:
    """Run a deployment, and count."""
    deployment = load(config)
    simulated = partial(Simulated, answers=lambda _: Answer(body=prose.answer()))
    replaced = {
        deployment.names.endpoint(name, model.wanted): partial(
            simulated, service_s=partial(service_s, model.versions[model.wanted].service)
        )
        for name, model in deployment.models.items()
    }
    with processor_time() as cpu_s:
        twin = local.start(config, virtual=True, replaced=replaced)
        try:
            bench = Bench(twin, deployment, cpu_s)
            quiet = bench.quiet()
            idle, idle_min = bench.idle()
            waited, waited_min = bench.idle("?wait=10")
            profiles = {"idle": per_job(idle, IDLE_JOBS, quiet, idle_min)}
            calls = {"idle": scaled_calls(idle, IDLE_JOBS)}
            waiting = per_job(waited, IDLE_JOBS, quiet, waited_min)
            drained_s = {}
            for model, profile in zip(MODELS, PROFILES[1:], strict=False):
                meter, minutes, drained_s[model] = bench.loaded(model)
                profiles[profile] = per_job(meter, BACKLOG_JOBS, quiet, minutes)
                calls[profile] = scaled_calls(meter, BACKLOG_JOBS)
            stored = bench.stored_bytes()
            deletion = bench.forget()
        finally:
            twin.close()
    profiles["waiting"] = {
        name: max(0.0, amount - profiles["idle"].get(name, 0.0)) for name, amount in waiting.items()
    }
    for profile in PROFILES[: len(MODELS) + 1]:
        amounts = Counter(profiles[profile])
        amounts.update(deletion)
        profiles[profile] = {**amounts, "ledger.stored_byte": stored}
    regions, models = len(deployment.regions), len(deployment.models)
    return Counted(
        deployment=deployment,
        profiles=profiles,
        background={
            "region": scaled(quiet["region"], 1 / regions),
            "model": scaled(quiet["model"], 1 / regions / models),
        },
        calls=calls,
        drained_s=drained_s,
        cpu_ms={name: 1000 * sum(runs) / len(runs) for name, runs in sorted(cpu_s.items())},
        stored_bytes=stored,
    )


def service_s(service: Service, _body: bytes) -> float:
    """Seconds that the model needs for this job: four letters of prose are about one token."""
    return service.seconds(len(prose.QUESTION) / 4, len(prose.ANSWER) / 4)


def scaled_calls(meter: Meter, jobs: int) -> dict[tuple[str, str], float]:
    """Calls per job, without those of beat and sweep."""
    return {who: n / jobs for who, n in sorted(meter.calls.items()) if who[0] not in BACKGROUND}


def counts_of(counted: Counted, profiles: Mapping[str, Mapping[str, float]], dated: str) -> Counts:
    """What `spillway cost` reads."""
    return Counts(
        basis="counted",
        dated=dated,
        profiles=profiles,
        region_minute=counted.background["region"],
        model_region_minute=counted.background["model"],
    )


def priced(counted: Counted, dated: str) -> dict[str, dict[str, Any]]:
    """Dollars per million jobs by profile, as `spillway cost` computes them.

    The slow model's profile is priced in place of the fast one's.
    """
    result = {}
    for profile in PROFILES[: len(MODELS) + 1]:
        profiles = {**counted.profiles, "loaded": counted.profiles[profile]}
        cost = Cost(
            counted.deployment, Inventory(), Prices.load(), counts_of(counted, profiles, dated)
        )
        result[profile] = cost.document()["per_million_jobs"]["loaded"]
    return result


def witness_free(counted: Counted, profile: str) -> float:
    """Dollars per million jobs that a witness adds if its writes are billed."""
    price = Prices.load().meters["dynamodb.write_unit"].usd
    return counted.profiles[profile]["ledger.write_unit"] * price * 1e6


def run(options: Options) -> Report:
    """Count both deployments, and price them."""
    report = Report("calls_per_job", "Calls per job, in dollars per million jobs")
    all_counted = {name: count(path) for name, path in CONFIGS.items()}
    services: dict[str, list[str]] = {}
    columns = []
    for name, counted in all_counted.items():
        prices = priced(counted, options.date)
        for profile in PROFILES[: len(MODELS) + 1]:
            columns.append(f"{name}: {LABELS[profile]}")
            cost = prices[profile]
            if (name, profile) in TARGETS:
                report.figures.append(
                    Figure(
                        what=f"{name}, {profile}",
                        value=cost["total"],
                        unit="$",
                        target=TARGETS[name, profile],
                        floor="list prices of spillway/prices.yaml",
                    )
                )
            if counted.deployment.witness:
                free = cost["total"] - witness_free(counted, profile)
                report.notes.append(
                    f"{name}, {LABELS[profile]}: ${cost['total']:.2f} with the witness's writes "
                    f"billed, ${free:.2f} if they are free."
                )
            lines = {**cost["services"], "together": cost["total"]} | {
                f"apart: {what}": usd for what, usd in cost["apart"].items()
            }
            for service, usd in lines.items():
                row = services.setdefault(service, [""] * (len(columns) - 1))
                row += [""] * (len(columns) - 1 - len(row)) + [f"{usd:.2f}"]
    order = sorted(services, key=lambda each: (each.startswith("apart"), each == "together", each))
    rows = [(each, *services[each], *[""] * (len(columns) - len(services[each]))) for each in order]
    report.tables.append(Rows("dollars per million jobs", ("service", *columns), rows))
    first = next(iter(all_counted.values()))
    report.tables += [_calls_table(first), _amounts_table(first)]
    report.notes += _notes(all_counted)
    if options.write:
        _write_counts(first, options)
    return report


def _calls_table(counted: Counted) -> Rows:
    keys = sorted({key for calls in counted.calls.values() for key in calls})
    rows = [
        (
            f"{who}: {what}",
            *(f"{counted.calls[profile].get((who, what), 0):.3f}" for profile in PROFILES),
        )
        for who, what in keys
    ]
    return Rows("calls per job", ("call", *LABELS.values()), rows)


def _amounts_table(counted: Counted) -> Rows:
    names = sorted({name for profile in PROFILES for name in counted.profiles[profile]})
    rows = [
        (name, *(f"{counted.profiles[profile].get(name, 0):.4g}" for profile in PROFILES))
        for name in names
    ]
    return Rows("billed amounts per job, deletion included", ("meter", *LABELS.values()), rows)


def _notes(all_counted: Mapping[str, Counted]) -> list[str]:
    notes = []
    for name, counted in all_counted.items():
        drained = ", ".join(f"{m} {s:.0f} s" for m, s in counted.drained_s.items())
        notes.append(f"{name}: the backlog of {BACKLOG_JOBS} was drained in (virtual) {drained}.")
    cpu = ", ".join(
        f"{name.rpartition('-')[2]} {ms:.1f}"
        for name, ms in next(iter(all_counted.values())).cpu_ms.items()
    )
    notes.append(
        f"Processor milliseconds of one execution, measured here without moto's: {cpu}. To these "
        f"come, per call, signing (measured) and {1000 * SOCKET_CPU_S:g} ms for TLS and sockets "
        "(assumed); a function gets memory / 1769 MB of a processor, assumed as fast as this one."
    )
    notes.append(
        "Waiting for AWS is assumed: the twin's latencies (spillway/twin/calls.py), and "
        "15 ms more for strong writes and reads of the ledger among them."
    )
    notes.append(
        "Counted as well: the deletion at the end of the retention, storage until then, access "
        "log lines, and what beat and sweep do more than without jobs. Not counted: cold starts, "
        "empty polls (by the hour, in `spillway cost`), and requests for keys of the customer's "
        "own, which buckets and queues keep for minutes."
    )
    return notes


def _write_counts(counted: Counted, options: Options) -> None:
    """Write what `spillway cost` reads."""

    def rounded(amounts: Mapping[str, float]) -> dict[str, float]:
        return {name: float(f"{n:.5g}") for name, n in sorted(amounts.items()) if n > 0}

    document = {
        "format": 1,
        "basis": "counted",
        "dated": options.date,
        "command": options.command,
        "job": "1 KB of prose in, 1 KB out, one read after the end; deleted after its retention",
        "profiles": {
            name: rounded(counted.profiles[name]) for name in ("idle", "loaded", "waiting")
        },
        "background": {
            "region_minute": rounded(counted.background["region"]),
            "model_region_minute": rounded(counted.background["model"]),
        },
    }
    COUNTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
