"""A replay in real time against any deployment that answers HTTP."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from spillway.client import RegionalApi, ServiceError
from spillway.replay.plan import Request
from spillway.replay.report import ENDED, Progress, Report

OUTSTANDING_MAX: Final = 64
"""Requests on the way at once; a slower service makes arrivals late instead of the memory full."""
DRAIN_S_MAX: Final = 3600.0
"""After the last request: a job that has not ended by then is lost."""
POLL_S: Final = 2.0
SHOW_EVERY_S: Final = 0.5
NOT_FOUND: Final = 404


class HttpReplay:
    """Requests against base URLs.

    Args:
        clients: By region.
        targets_s: Target waits by tier.
        drain_s_max: How long to wait for jobs after the last request.
    """

    def __init__(
        self,
        clients: Mapping[str, RegionalApi],
        targets_s: Mapping[str, float],
        *,
        drain_s_max: float = DRAIN_S_MAX,
    ) -> None:
        self._clients = clients
        self._report = Report.of(targets_s)
        self._drain_s_max = drain_s_max
        self._open: dict[str, Request] = {}
        self._changing = threading.Lock()
        self._pause = threading.Event()
        self._shown_s = 0.0

    def run(
        self, requests: Iterable[Request], *, show: Callable[[Progress], object] | None = None
    ) -> Report:
        """Send every request at its time, poll until every job has ended, and count.

        Args:
            requests: In the order of their times; read one by one.
            show: Told how far things are, about twice a second.
        """
        first_s = time.monotonic()
        room = threading.BoundedSemaphore(OUTSTANDING_MAX)
        with ThreadPoolExecutor(OUTSTANDING_MAX, thread_name_prefix="replay") as pool:
            for request in requests:
                while (left_s := first_s + request.at_s - time.monotonic()) > 0:
                    self._pause.wait(min(left_s, SHOW_EVERY_S))
                    self._tell(show, first_s)
                room.acquire()
                future = pool.submit(self._submit, request)
                future.add_done_callback(lambda _: room.release())
            pool.submit(lambda: None).result()
        self._drain(first_s, show)
        for request in self._open.values():
            self._report.end(request.tier, "unfinished")
        self._report.simulated_s = self._report.wall_s = time.monotonic() - first_s
        return self._report

    def _submit(self, request: Request) -> None:
        body = {"model": request.model, "tier": request.tier, "input": request.body}
        key = f"replay-{id(self):x}-{request.number}"
        try:
            # The key makes a repetition safe, should the connection break.
            job = self._clients[request.region].submit(body, idempotency_key=key).document
        except ServiceError as error:
            with self._changing:
                self._report.offered += 1
                self._report.turn_away(error.code)
            return
        with self._changing:
            self._report.offered += 1
            self._report.tiers[request.tier].accepted += 1
            self._open[str(job["id"])] = request

    def _drain(self, first_s: float, show: Callable[[Progress], object] | None) -> None:
        """Ask for every unfinished job, again and again, until none is left or time is up."""
        last_s = time.monotonic() + self._drain_s_max
        with ThreadPoolExecutor(OUTSTANDING_MAX // 4, thread_name_prefix="poll") as pool:
            while self._open and time.monotonic() < last_s:
                asked: list[Future[None]] = [
                    pool.submit(self._look, job_id, request)
                    for job_id, request in list(self._open.items())
                ]
                for each in asked:
                    each.result()
                    self._tell(show, first_s)
                if self._open:
                    self._pause.wait(POLL_S)

    def _look(self, job_id: str, request: Request) -> None:
        try:
            job = self._clients[request.region].job(job_id)
        except ServiceError as error:
            if error.status == NOT_FOUND:
                with self._changing:
                    self._open.pop(job_id)
                    self._report.end(request.tier, "gone")
            return
        if job["status"] in ENDED:
            with self._changing:
                self._open.pop(job_id)
                self._ended(job, request)

    def _ended(self, job: Mapping[str, Any], request: Request) -> None:
        theirs = is_theirs(job.get("output"), request)
        self._report.end(request.tier, job["status"] if theirs else "swapped")
        self._report.retried += job["attempt"] > 1
        wait_s = (job.get("timings") or {}).get("queue_s")
        if wait_s is not None:
            self._report.tiers[request.tier].started(wait_s)

    def _tell(self, show: Callable[[Progress], object] | None, first_s: float) -> None:
        now_s = time.monotonic()
        if show is None or now_s - self._shown_s < SHOW_EVERY_S:
            return
        self._shown_s = now_s
        with self._changing:
            waiting = Counter(request.tier for request in self._open.values())
        report = self._report
        show(Progress(now_s - first_s, report.offered, report.accepted, waiting, None))


def is_theirs(output: Any, request: Request) -> bool:
    """Whether a result, where it tells, belongs to the row that the job was made of."""
    if not isinstance(output, dict) or output.get("row") is None:
        return True
    return bool(output["row"] == request.number)
