"""The clients of a run, and the model that answers them: what each of them saw is kept."""

import json
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from spillway.simulation.scenario import Job
from spillway.twin.apigateway import HttpRequest, UnreachableError
from spillway.twin.clock import Scheduler
from spillway.twin.containers import Answer, Reply
from spillway.twin.twin import Twin

TRIES_MAX: Final = 8
TRY_AGAIN_S: Final = 1.5
ANSWER_S_MAX: Final = 30.0
CONNECT_S: Final = 3.0
WAIT_S: Final = 5
REDIRECTS_MAX: Final = 2
OK: Final = 200
ACCEPTED: Final = (200, 202, 303)
AGAIN: Final = frozenset({0, 429, 500, 502, 503, 504})
"""No answer, or one that asks for another try."""
SEE_OTHER: Final = 303
FAILS_IN: Final = 0.1
"""Share of the service time after which a model fails. An attempt that was handed over twice may so
fail and be tried again while it is still computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request of a client, and the answer that it got.

    Attributes:
        began_s, ended_s: Seconds since the epoch.
        number: Of the job that it is about.
        what: `submit`, or what a step does.
        region: Whose API was asked.
        key: The idempotency key that was sent.
        status: HTTP status; 0 without an answer.
        job: The job's id, of the request or of the answer.
        document: The answer's body.
    """

    began_s: float
    ended_s: float
    number: int
    what: str
    region: str
    key: str
    status: int
    job: str
    document: dict[str, Any]


@dataclass(slots=True, eq=False)
class Clients:
    """Every client of a run.

    Attributes:
        keys: API keys by tenant.
        seen: In the order in which answers came.
        at_work: Clients that are not done.
    """

    twin: Twin
    keys: dict[str, str]
    seen: list[Seen] = field(default_factory=list)
    at_work: int = 0

    def begin(self, job: Job) -> None:
        """Let a job's client do what is planned, as a task."""
        self.at_work += 1
        self.twin.scheduler.spawn(self._live, job, name=f"client {job.number}")

    def ask(self, job: Job, what: str, region: str, identity: str = "") -> Seen:
        """One request; in a task."""
        scheduler, began_s = self.twin.scheduler, self.twin.scheduler.now()
        request = _request(job, what, identity, self.keys[job.tenant])
        status, document = self._sent(region, request)
        if status == OK and what == "submit" and not document.get("id"):
            raise RuntimeError(f"an acceptance without an id: {document}")
        seen = Seen(
            began_s=began_s,
            ended_s=scheduler.now(),
            number=job.number,
            what=what,
            region=region,
            key=f"{job.tenant} {_key(job)}" if what in ("submit", "repeat") and job.key else "",
            status=status,
            job=identity or (str(document.get("id", "")) if status in ACCEPTED else ""),
            document=document,
        )
        self.seen.append(seen)
        return seen

    def _live(self, job: Job) -> None:
        identity = self._submit(job)
        for step in job.steps:
            self.twin.scheduler.sleep(step.after_s)
            if step.what == "repeat":
                if job.key:
                    self.ask(job, "repeat", step.region)
            elif step.what == "list":
                self.ask(job, "list", step.region)
            elif identity:
                seen = self.ask(job, step.what, step.region, identity)
                for _ in range(REDIRECTS_MAX):
                    if seen.status != SEE_OTHER:
                        break
                    seen = self.ask(job, step.what, step.region, identity)
        self.at_work -= 1

    def _submit(self, job: Job) -> str:
        """Submit as a careful client does; its id, or empty if it never heard one."""
        for number in range(TRIES_MAX):
            seen = self.ask(job, "submit", job.regions[number % len(job.regions)])
            if seen.status in ACCEPTED:
                return seen.job
            # Without a key, an answer that never came may have been a 202: not again.
            if seen.status not in AGAIN or not (job.key or seen.status == 429):  # noqa: PLR2004
                return ""
            self.twin.scheduler.sleep(TRY_AGAIN_S * (1 + number))
        return ""

    def _sent(self, region: str, request: HttpRequest) -> tuple[int, dict[str, Any]]:
        scheduler = self.twin.scheduler
        task = scheduler.spawn(self.twin.gateway.handle, region, request, name="http")
        try:
            answer = scheduler.wait(task, ANSWER_S_MAX)
        except TimeoutError:
            return 0, {}
        except UnreachableError as error:
            scheduler.sleep(ANSWER_S_MAX if error.connected else CONNECT_S)
            return 0, {}
        document = json.loads(answer.body) if answer.body else {}
        return int(answer.status), document if isinstance(document, dict) else {}


def _key(job: Job) -> str:
    return f"key-{job.number}"


def _request(job: Job, what: str, identity: str, api_key: str) -> HttpRequest:
    headers = [("Authorization", f"Bearer {api_key}"), ("Content-Type", "application/json")]
    method, path, query, body = "GET", f"/v1/jobs/{identity}", "", b""
    if what in ("submit", "repeat"):
        method, path, body = "POST", "/v1/jobs", _body(job)
        if job.key:
            headers.append(("Idempotency-Key", _key(job)))
    elif what == "list":
        path = "/v1/jobs"
    elif what == "wait":
        query = f"wait={WAIT_S}"
    elif what == "cancel":
        method, path = "POST", f"{path}/cancel"
    elif what == "erase":
        method = "DELETE"
    return HttpRequest(method=method, path=path, query=query, headers=headers, body=body)


def _body(job: Job) -> bytes:
    body: dict[str, Any] = {
        "model": "small",
        "tier": job.tier,
        "input": {"n": job.number, "text": noise(job.letters)},
    }
    if job.deadline_s is not None:
        body["deadline_s"] = job.deadline_s
    return json.dumps(body).encode()


@cache
def noise(letters: int) -> str:
    """Text that no compression makes much shorter, the same at every call."""
    return random.Random(letters).randbytes(letters // 2).hex()  # noqa: S311 no secret


@dataclass(slots=True, eq=False)
class Script:
    """What the model answers in a run.

    Attributes:
        jobs: By their number.
        runs: When which inference id was computed, for which job.
    """

    jobs: dict[int, Job] = field(default_factory=dict)
    runs: list[tuple[float, str, int]] = field(default_factory=list)


class Echo:
    """A container that answers who asked: job and attempt, and how often it was asked so far.

    Args:
        scheduler: Lets the service time pass.
        script: What it does at each attempt of each job.
    """

    warm_up_s = 20.0

    def __init__(self, scheduler: Scheduler, script: Script) -> None:
        self._scheduler = scheduler
        self._script = script

    def start(self) -> None:
        """Have nothing to load."""

    def ready(self) -> bool:
        """Be ready at once."""
        return True

    def stop(self) -> None:
        """Have nothing to end."""

    def invoke(self, body: bytes, headers: Any, reply: Reply) -> None:
        """Answer after the service time, or fail sooner, as the script says."""
        number = int(json.loads(body)["n"])
        identity = str(headers["x-amzn-sagemaker-inference-id"])
        self._script.runs.append((self._scheduler.now(), identity, number))
        again = any(each == identity for _, each, _ in self._script.runs[:-1])
        job = self._script.jobs[number]
        asked = sum(each == number for _, _, each in self._script.runs)
        what = job.behaviour[min(asked, len(job.behaviour)) - 1]
        if again and what == "text":
            # Both runs write to one object, as SageMaker names them; the last one would stay.
            what = "error"
        answer: Answer | None = None
        if what == "answer":
            document = {
                "inference": identity,
                "n": number,
                "run": len(self._script.runs),
                "text": noise(job.answer_letters),
            }
            answer = Answer(body=json.dumps(document).encode())
        elif what == "text":
            answer = Answer(body=b"half a document {", content_type="text/plain")
        elif what == "error":
            answer = Answer(status=500, body=b'{"error": "out of memory"}')
        if what != "hang":
            seconds = job.service_s if what == "answer" else FAILS_IN * job.service_s
            self._scheduler.after(seconds, reply, answer)
