"""A receiver of webhooks: believes none unverified, answers at once, acts on each event once.

With `make local ARGS="--receiver hooks.example=http://127.0.0.1:9000"` running, and the variables
exported that it prints:

    .venv/bin/uvicorn --app-dir examples webhook_receiver:app --port 9000

Then hand in a job whose end is told:

    .venv/bin/spillway submit embedder '{"input": "hello"}' --webhook https://hooks.example/told

Events are written down before they are answered with 204, so that none is lost when this process
ends; those that come again are known by their `webhook-id`. What is left is done at the next start.
"""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from spillway import Client, ServiceError
from spillway.webhooks import WebhookVerificationError, verify

BODY_BYTES_MAX = 64 * 1024
INBOX = os.environ.get("INBOX", "inbox.sqlite")


async def told(request: Request) -> Response:
    """Take an event: verify, write down, answer; the work comes after."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            return Response(status_code=413)
    try:
        event = verify(os.environ["SPILLWAY_WEBHOOK_SECRET"], request.headers, body)
    except WebhookVerificationError:
        return Response(status_code=400)
    with closing(inbox()) as events, events:
        events.execute(
            "INSERT OR IGNORE INTO events (delivery, job) VALUES (?, ?)",
            (event.delivery, event.data.id),
        )
    return Response(status_code=204, background=BackgroundTask(work))


def work() -> None:
    """Do what is not done yet; what fails stays for the next time."""
    with (
        closing(inbox()) as events,
        Client(os.environ["SPILLWAY_URL"], os.environ["SPILLWAY_API_KEY"]) as client,
    ):
        for delivery, job_id in events.execute(
            "SELECT delivery, job FROM events WHERE NOT done ORDER BY rowid"
        ).fetchall():
            try:
                job = client.job(job_id)
            except ServiceError as error:
                print(f"{job_id}: {error}")
                continue
            print(f"{job_id} is {job.status}", flush=True)
            with events:
                events.execute("UPDATE events SET done = 1 WHERE delivery = ?", (delivery,))


def inbox() -> sqlite3.Connection:
    """Where events are kept."""
    events = sqlite3.connect(INBOX)
    events.execute(
        "CREATE TABLE IF NOT EXISTS events"
        " (delivery TEXT PRIMARY KEY, job TEXT, done INTEGER DEFAULT 0)"
    )
    return events


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Do first what was left by an earlier process."""
    work()
    yield


app = Starlette(routes=[Route("/told", told, methods=["POST"])], lifespan=lifespan)
