"""How long ten thousand unfinished jobs miss the region that held them.

They are put into one region's queues and ledger while its dispatcher is held back; then the region
dies. Time is the twin's: the latencies of its calls are those of spillway/twin/calls.py, and strong
writes of the ledger take 15 ms more.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.options import ROOT, Options
from benchmarks.report import Figure, Report, Rows
from config.schema import Deployment, load
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.queues import RECEIVE_MAX, Queues
from lambdas.domain import payloads
from lambdas.domain.job import Job, Status, job_id
from spillway import local
from spillway.replay.outage import Outage
from spillway.twin.calls import Fault
from spillway.twin.containers import Answer, Simulated
from spillway.twin.twin import Twin

CONFIG = ROOT / "config" / "dev.yaml"
MODEL = "embedder"
JOBS = 10_000
LOST_S_MAX, MOVED_S_MAX = 40.0, 60.0
END_S_MAX = 3600.0
SERVICE_S = 0.02
SETTLE_S = 90.0


def answered(body: bytes) -> Answer:
    """The row of the request, by which a result is known."""
    return Answer(body=json.dumps({"row": json.loads(body)["row"]}).encode())


@contextmanager
def at_once(twin: Twin) -> Iterator[None]:
    """Let no time pass in calls: nobody measures how the jobs came."""
    usual, strong_s = dict(twin.hook.latency_s), twin.dynamodb.strong_s
    twin.hook.latency_s |= dict.fromkeys(usual, 0.0)
    twin.dynamodb.strong_s = 0.0
    try:
        yield
    finally:
        twin.hook.latency_s |= usual
        twin.dynamodb.strong_s = strong_s


def fill(twin: Twin, deployment: Deployment, region: str) -> None:
    """Let jobs wait in a region, a third in each tier."""
    session = twin.operator(region)
    ledger = Ledger(session.client("dynamodb"), deployment.names.ledger)
    queues = Queues(session.client("sqs"), deployment.names, region)
    tiers: list[str] = list(deployment.tiers)
    at_ms = int(1000 * twin.scheduler.now())
    waiting: dict[str, list[tuple[str, int, str]]] = {tier: [] for tier in tiers}
    for number in range(JOBS):
        tier = tiers[number % len(tiers)]
        body = {"input": "text", "row": number}
        job = Job(
            id=job_id("bench", f"job-{number}", b""),
            status=Status.QUEUED,
            attempt=1,
            owner=region,
            home=region,
            tenant="bench",
            model=MODEL,
            tier=tier,
            created_ms=at_ms + number,
            deadline_ms=at_ms + 86_400_000,
            request_hash=b"0" * 32,
            input=payloads.pack(json.dumps(body).encode()),
        )
        assert ledger.create(job) is None
        waiting[tier].append((job.id, 1, job.tenant))
    for tier, attempts in waiting.items():
        for start in range(0, len(attempts), RECEIVE_MAX):
            queues.send_many(MODEL, tier, attempts[start : start + RECEIVE_MAX])


def ends(twin: Twin, deployment: Deployment) -> Counter[str]:
    """What became of the jobs: their states, and results that are not theirs."""
    client = twin.operator(deployment.primary_region).client("dynamodb")
    numbers = {job_id("bench", f"job-{number}", b""): number for number in range(JOBS)}
    found: Counter[str] = Counter()
    for page in client.get_paginator("scan").paginate(TableName=deployment.names.ledger):
        for item in page["Items"]:
            number = numbers.pop(item["pk"]["S"].removeprefix("job#"), None)
            if number is None:
                continue
            found[item["status"]["S"]] += 1
            if "output" in item:
                answer = json.loads(payloads.unpack(item["output"]["B"]))
                found["result of another job"] += answer.get("row") != number
    found["gone"] = len(numbers)
    return found


def run(options: Options) -> Report:
    """Lose a region that holds ten thousand jobs."""
    del options
    report = Report("lost_region", f"A region dies that holds {JOBS:,} unfinished jobs")
    deployment = load(CONFIG)
    region = deployment.regions[1]
    quick = partial(Simulated, service_s=lambda _: SERVICE_S, answers=answered)
    endpoint = deployment.names.endpoint(MODEL, deployment.models[MODEL].wanted)
    with local.start(CONFIG, virtual=True, replaced={endpoint: quick}) as twin:
        scheduler = twin.scheduler
        scheduler.run_for(SETTLE_S)
        held = twin.hook.fail(
            Fault("throttle", operation="ReceiveMessage", caller_region=region, times=None)
        )
        with at_once(twin):
            fill(twin, deployment, region)
        outage = Outage(twin, deployment, region=region, at_s=0)
        task = scheduler.spawn(outage.happen)
        scheduler.run_until_true(lambda: task.done, END_S_MAX, every_s=1)
        task.result()
        twin.hook.rules.remove(held)
        began_s = scheduler.now()
        idle = scheduler.run_until_true(
            lambda: not local.unfinished(twin, deployment), END_S_MAX, every_s=30
        )
        ended_s = scheduler.now() - began_s
        found = ends(twin, deployment)
    seen = outage.seen
    assert idle, "the jobs did not end"
    assert seen.lost_s is not None, "the region was not declared lost"
    assert seen.moved_s is not None, "its jobs were not moved"
    report.tables.append(
        Rows(
            "three regions; the two that are left take the jobs",
            ("what", "value"),
            [
                ("unfinished jobs in the region", f"{seen.held:,}"),
                ("declared lost after", f"{seen.lost_s:.0f} s"),
                ("none left there after", f"{seen.moved_s:.0f} s"),
                ("all ended, after the moves", f"{ended_s:.0f} s"),
                *((what, f"{count:,}") for what, count in sorted(found.items())),
            ],
        )
    )
    report.figures += [
        Figure(what="lost", value=seen.lost_s, unit="s", target=LOST_S_MAX, floor="the death"),
        Figure(
            what="moved",
            value=seen.moved_s - seen.lost_s,
            unit="s",
            target=MOVED_S_MAX,
            floor="being declared lost",
        ),
        Figure(
            what="jobs not completed once",
            value=float(JOBS - found["completed"] + found["result of another job"]),
            unit="",
            target=0.0,
            floor="jobs accepted",
        ),
    ]
    return report
