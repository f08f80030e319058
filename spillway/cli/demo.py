"""`spillway demo`: three regions on this machine, real embeddings, a burst, and what goes wrong."""

import math
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from config.schema import Deployment, load
from spillway.assembly import synthesize
from spillway.cli.replaying import lost_region, sentence, shown, summary
from spillway.cli.story import Steps, of_bad_version, of_outage, of_scale_outs, teller
from spillway.cli.terminal import (
    Code,
    CommandError,
    Json,
    answer,
    held_signals,
    progress_console,
)
from spillway.client import RegionalApi
from spillway.replay.bad_version import BadVersion, TakenBack, wanting
from spillway.replay.plan import Assignment, Request, simulated_model
from spillway.replay.report import Report
from spillway.replay.scaled_out import ScaleOut, scale_outs
from spillway.traces import SLICE, read

MODEL: Final = "embedder"
TEXTS: Final = (
    "How do I send back a parcel that arrived damaged?",
    "My package came broken. How can I return it?",
    "The committee elects its treasurer on Thursday.",
)
"""Two paraphrases and a sentence about something else."""
BURST: Final = 600
SPEED: Final = 4.0
"""So many rows, four times as fast as they were recorded, are more than two regions can serve."""
REST_S: Final = 300.0
"""The other rows take so long: until instances that were asked for in the burst are there."""
WAIT_S: Final = 20
LOST_JOBS_MIN: Final = 10
"""The region dies when it holds so many jobs that somebody would miss them."""


@dataclass(frozen=True, slots=True)
class _Release:
    """What is deployed, and what over it: a version that turns out to be bad."""

    config: Path
    deployment: Deployment
    changed: Path | None = None
    bad: BadVersion | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """What the replay came to."""

    report: Report
    scale_outs: list[ScaleOut]
    taken_back: TakenBack | None

    @property
    def promises(self) -> dict[str, bool]:
        """What is promised of it, and whether it was kept."""
        report, back = self.report, self.taken_back
        found = {
            "no accepted job was lost": report.accepted > 0 and report.lost == 0,
            "the jobs of the region that died ended elsewhere": report.outage is None
            or report.outage.moved_s is not None,
            "interactive jobs waited less than batch jobs": _waited_less(report.document()),
        }
        if back is not None:
            served = any(each.served_s is not None for each in self.scale_outs)
            found |= {
                "a fleet grew, and its new instances served": served,
                "the bad version was taken back, and no job failed of it": back.back_s is not None
                and report.ended.get("failed", 0) == 0,
            }
        return found


def demo(
    *,
    config: Annotated[Path, typer.Option(help="A deployment with the model `embedder`.")] = Path(
        "config/demo.yaml"
    ),
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Replay only the first rows of the slice, and release nothing."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Embed three sentences, then replay a burst: a fleet grows, a region and a version go bad.

    Exits with 0 only if the paraphrases are nearer to each other than to the third sentence, no
    accepted job was lost, no job stayed in the region that died, interactive jobs waited less
    than batch jobs, instances that alarms asked for came to serve, and the version that fails jobs
    was taken back without failing one.
    """
    began_s = time.monotonic()
    console = progress_console()
    deployment = load(config)
    if MODEL not in deployment.models:
        raise CommandError(f"{config} has no model {MODEL}", exit_code=Code.USAGE, code="usage")
    with console.status("synthesizing the stacks"):
        assembly = synthesize(config)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as aside:
        release = _Release(config, deployment)
        if limit is None:
            release = _next_release(config, deployment, Path(folder))
        # Its templates are ready when they are deployed.
        ready = aside.submit(synthesize, release.changed or config)
        similarities, jobs = _embed(config, assembly, console)
        ready.result()
        told = _replay(assembly, release, console, limit)
    document = told.report.document()
    near, *far = similarities.values()
    alike = "paraphrases are nearer to each other than to another sentence"
    promises = {alike: near > max(far), **told.promises}
    result = {
        "regions": list(deployment.regions),
        "embeddings": {"jobs": jobs, "similarities": similarities},
        "replay": document,
        "scale_outs": [each.document() for each in told.scale_outs],
        "taken_back": told.taken_back and told.taken_back.document(),
        "promises": promises,
        "took_s": round(time.monotonic() - began_s, 1),
    }

    def render(console: Console) -> None:
        console.print(summary(told.report))
        console.print(sentence(told.report), highlight=False)
        if told.report.outage is not None:
            console.print(lost_region(told.report.outage), highlight=False)
        for promise, kept in promises.items():
            console.print(f"{'kept  ' if kept else 'BROKEN'} {promise}", highlight=False)
        console.print(f"took {result['took_s']} s", highlight=False)

    answer(result, as_json=as_json, render=render)
    if not all(promises.values()):
        raise typer.Exit(Code.FAILED)


def _next_release(config: Path, deployment: Deployment, folder: Path) -> _Release:
    """The deployment with another version wanted, if the replayed model has another one."""
    name = simulated_model(deployment)
    model = deployment.models[name]
    others = [version for version in model.versions if version != model.wanted]
    if not others:
        return _Release(config, deployment)
    changed = wanting(config, name, others[0], folder)
    bad = BadVersion(load(changed), model=name, before=model.wanted)
    return _Release(config, deployment, changed, bad)


def _embed(
    config: Path, assembly: Path, console: Console
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Ask a real model over HTTP, one sentence in each region."""
    from spillway.service import LocalService  # noqa: PLC0415 seconds that others need not wait

    with console.status("starting every region, and the model's processes"):
        service = LocalService(config, assembly=assembly)
    with service:
        regions = list(service.urls.items())
        console.print(f"{len(regions)} regions serve {', '.join(service.deployment.models)}")
        jobs = []
        for index, text in enumerate(TEXTS):
            region, url = regions[index % len(regions)]
            with RegionalApi(url, service.key) as client:
                job = client.submit({"model": MODEL, "input": {"input": text}}, wait_s=WAIT_S)
                jobs.append(_ended(client, job.document))
            console.print(f'{region}: "{text}"', highlight=False, soft_wrap=True)
    vectors = [job["output"]["data"][0]["embedding"] for job in jobs]
    pairs = {"paraphrases": (0, 1), "first and other": (0, 2), "second and other": (1, 2)}
    similarities = {
        name: round(_cosine(vectors[one], vectors[other]), 3)
        for name, (one, other) in pairs.items()
    }
    for name, similarity in similarities.items():
        console.print(f"  similarity, {name}: {similarity:.3f}", highlight=False)
    told = ("id", "region", "status", "timings")
    return similarities, [{field: job[field] for field in told} for job in jobs]


def _ended(client: RegionalApi, job: dict[str, Any]) -> dict[str, Any]:
    """The job with its result; one more wait if the first was too short."""
    if job["status"] != "completed":
        client.job(job["id"], wait_s=WAIT_S)
        job = client.job(job["id"])
    if job["status"] != "completed":
        raise CommandError(f"{MODEL} did not answer: the job is {job['status']}")
    return job


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(left * right for left, right in zip(one, other, strict=True))
    return product / math.hypot(*one) / math.hypot(*other)


def _requests(deployment: Deployment, limit: int | None) -> list[Request]:
    """A burst of the slice's first rows, and the others at leisure after it."""
    recorded = Assignment.of(deployment, speed=SPEED).requests(islice(read(SLICE), limit))
    burst = list(islice(recorded, BURST))
    rest = list(recorded)
    if not rest:
        return burst
    began_s, lasted_s = rest[0].at_s, rest[-1].at_s - rest[0].at_s
    calmer = REST_S / lasted_s if lasted_s else 1.0
    return burst + [replace(each, at_s=began_s + (each.at_s - began_s) * calmer) for each in rest]


def _replay(assembly: Path, release: _Release, console: Console, limit: int | None) -> _Told:
    """Replay a slice of a real trace on the same templates, as fast as this machine computes."""
    from spillway import local  # noqa: PLC0415
    from spillway.replay.outage import Outage  # noqa: PLC0415
    from spillway.replay.virtual import SETTLE_S, VirtualReplay  # noqa: PLC0415

    deployment, bad = release.deployment, release.bad
    requests = _requests(deployment, limit)
    what = f"{len(requests)} requests of a code-completion service, virtual clock"
    fast = min(BURST, len(requests))
    console.print(f"{what}; {fast} of them {SPEED:g} times as fast as recorded", soft_wrap=True)
    replaced = {}
    if bad is not None:
        endpoint = deployment.names.endpoint(bad.seen.model, bad.seen.version)
        replaced[endpoint] = bad.container(local.containers(deployment)[endpoint])
    with (
        local.start(release.config, virtual=True, assembly=assembly, replaced=replaced) as twin,
        shown(console, len(requests), what) as show,
        held_signals() as check,
    ):
        if bad is not None and release.changed is not None:
            bad.released_before(twin)
            deployment = local.update(twin, release.changed, replaced=replaced)
            bad.passed_smoke(twin)
        scheduler, regions = twin.scheduler, deployment.regions
        first_s = scheduler.now() + SETTLE_S
        outage = None
        if len(regions) > 1:
            last_s = requests[-1].at_s
            busy_s = requests[min(BURST, len(requests)) - 1].at_s
            outage = Outage(
                twin,
                deployment,
                region=regions[1],
                at_s=busy_s / 3,
                jobs_min=LOST_JOBS_MIN,
                away_s=last_s,
            )

        def steps() -> Steps:
            if bad is not None:
                bad.look(twin, first_s=first_s)
                yield from of_bad_version(bad.seen, before=bad.before)
            if outage is not None:
                yield from of_outage(outage.seen)
            yield from of_scale_outs(scale_outs(twin, deployment, first_s=first_s))

        tell = teller(steps, console, lambda: scheduler.now() - first_s)

        def look() -> None:
            check()
            tell()

        replay = VirtualReplay(twin, deployment)
        report = replay.run(requests, show=show, check=look, outage=outage)
        look()
        return _Told(
            report, scale_outs(twin, deployment, first_s=first_s), bad.seen if bad else None
        )


def _waited_less(document: dict[str, Any]) -> bool:
    """Whether interactive jobs waited less than batch jobs, at the median and at the tail."""
    interactive, batch = (document["wait_s"][tier] for tier in ("interactive", "batch"))
    return all(
        interactive[rank] is not None
        and batch[rank] is not None
        and interactive[rank] < batch[rank]
        for rank in ("p50", "p95")
    )
