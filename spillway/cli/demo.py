"""`spillway demo`: three regions on this machine, real embeddings, and a burst of real traffic."""

import math
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from config.schema import load
from spillway.assembly import synthesize
from spillway.cli.replaying import lost_region, sentence, shown, summary, teller
from spillway.cli.terminal import (
    Code,
    CommandError,
    Json,
    answer,
    held_signals,
    progress_console,
)
from spillway.client import RegionalApi
from spillway.replay.plan import Assignment
from spillway.replay.report import Report
from spillway.traces import SLICE, read

MODEL: Final = "embedder"
TEXTS: Final = (
    "How do I send back a parcel that arrived damaged?",
    "My package came broken. How can I return it?",
    "The committee elects its treasurer on Thursday.",
)
"""Two paraphrases and a sentence about something else."""
SPEED: Final = 6.0
"""Six times the recorded rate is more than the endpoints can serve: somebody has to wait."""
WAIT_S: Final = 20
LOST_JOBS_MIN: Final = 10
"""The region dies when it holds so many jobs that somebody would miss them."""


def demo(
    *,
    config: Annotated[Path, typer.Option(help="A deployment with the model `embedder`.")] = Path(
        "config/dev.yaml"
    ),
    limit: Annotated[
        int | None, typer.Option(min=1, help="Replay only the first rows of the slice.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Boot every region, embed three sentences, replay a burst, and lose a region meanwhile.

    Exits with 0 only if the paraphrases are nearer to each other than to the third sentence, no
    accepted job was lost, no job stayed in the region that died, and interactive jobs waited less
    than batch jobs.
    """
    began_s = time.monotonic()
    console = progress_console()
    deployment = load(config)
    if MODEL not in deployment.models:
        raise CommandError(f"{config} has no model {MODEL}", exit_code=Code.USAGE, code="usage")
    with console.status("synthesizing the stacks"):
        assembly = synthesize(config)
    similarities, jobs = _embed(config, assembly, console)
    report = _replay(config, assembly, console, limit)
    document = report.document()
    near, *far = similarities.values()
    promises = {
        "paraphrases are nearer to each other than to another sentence": near > max(far),
        "no accepted job was lost": report.accepted > 0 and report.lost == 0,
        "the jobs of the region that died ended elsewhere": report.outage is None
        or report.outage.moved_s is not None,
        "interactive jobs waited less than batch jobs": _waited_less(document),
    }
    result = {
        "regions": list(deployment.regions),
        "embeddings": {"jobs": jobs, "similarities": similarities},
        "replay": document,
        "promises": promises,
        "took_s": round(time.monotonic() - began_s, 1),
    }

    def render(console: Console) -> None:
        console.print(summary(report))
        console.print(sentence(report), highlight=False)
        if report.outage is not None:
            console.print(lost_region(report.outage), highlight=False)
        for promise, kept in promises.items():
            console.print(f"{'kept  ' if kept else 'BROKEN'} {promise}", highlight=False)
        console.print(f"took {result['took_s']} s", highlight=False)

    answer(result, as_json=as_json, render=render)
    if not all(promises.values()):
        raise typer.Exit(Code.FAILED)


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


def _replay(config: Path, assembly: Path, console: Console, limit: int | None) -> Report:
    """Replay a slice of a real trace on the same templates, as fast as this machine computes."""
    from spillway.local import start  # noqa: PLC0415
    from spillway.replay.outage import Outage  # noqa: PLC0415
    from spillway.replay.virtual import VirtualReplay  # noqa: PLC0415

    deployment = load(config)
    requests = list(Assignment.of(deployment, speed=SPEED).requests(islice(read(SLICE), limit)))
    rows = len(requests)
    what = f"{rows} requests of a code-completion service, {SPEED:g} times as fast, virtual clock"
    console.print(what)
    with (
        start(config, virtual=True, assembly=assembly) as twin,
        shown(console, rows, what) as show,
        held_signals() as check,
    ):
        outage, look = None, check
        if len(deployment.regions) > 1:
            outage = Outage(
                twin,
                deployment,
                region=deployment.regions[1],
                at_s=requests[-1].at_s / 3,
                jobs_min=LOST_JOBS_MIN,
            )
            tell = teller(outage.seen, console)

            def look() -> None:
                check()
                tell()

        replay = VirtualReplay(twin, deployment)
        report = replay.run(requests, show=show, check=look, outage=outage)
        look()
        return report


def _waited_less(document: dict[str, Any]) -> bool:
    """Whether interactive jobs waited less than batch jobs, at the median and at the tail."""
    interactive, batch = (document["wait_s"][tier] for tier in ("interactive", "batch"))
    return all(
        interactive[rank] is not None
        and batch[rank] is not None
        and interactive[rank] < batch[rank]
        for rank in ("p50", "p95")
    )
