"""batches: every minute, and when a batch is made or cancelled, brings the batches on.

One execution at a time works on all batches of a region, a bounded step of each in turn. What is
to be done next follows from the batch's item alone, so that any step may be done again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.clock import now_ms
from lambdas.adapters.files import FileRecords
from lambdas.adapters.gate import Gate
from lambdas.adapters.leases import Leases
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.domain.batches import RESTARTED, Batch, Step, next_step
from lambdas.domain.policy import Policy
from lambdas.domain.regions import DRAINED, LOST, fenced
from lambdas.handlers.collecting import Collecting
from lambdas.handlers.cutting import Cutting
from lambdas.handlers.finishing import Finishing
from lambdas.handlers.lines import Lines
from lambdas.handlers.ports import batch_pieces, endings, file_objects, payload_store
from lambdas.wiring import Execution, Function, Handler

POLL_S = 5.0
"""Between two looks at jobs that are under way; one look reads `lines.LOOK_MAX` of a batch."""
ROUNDS_MAX = 10_000
BATCHES_MAX = 50
"""Batches that are brought on in one round; the next round goes on."""
TIME_LEFT_MS_MIN = 20_000
"""For one step: to collect a block, or to cut a file."""
FORGOTTEN_MAX = 200
FORGET_PAGES_MAX = 20
FORGET_EVERY_MIN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Brings the batches of one region on.

    Attributes:
        turn: Rounds that were made, so that each begins where the last one ended.
    """

    region: str
    policy: Policy
    gate: Gate
    leases: Leases
    records: BatchRecords
    files: FileRecords
    payloads: Payloads
    cutting: Cutting
    lines: Lines
    collecting: Collecting
    finishing: Finishing
    sleep: Callable[[float], None]
    turn: list[int] = field(default_factory=lambda: [0])

    def run(self, *, time_left_ms: Callable[[], int]) -> int:
        """Bring the batches on until nothing is left to do, or no time; returns steps made."""
        steps = 0
        for _ in range(ROUNDS_MAX):
            if time_left_ms() < TIME_LEFT_MS_MIN or not self._serves():
                break
            made, waiting = self._round(time_left_ms)
            steps += made
            if not made:
                if not waiting or time_left_ms() < TIME_LEFT_MS_MIN + 1000 * POLL_S:
                    break
                self.sleep(POLL_S)
        return steps

    def forget(self) -> int:
        """Delete files and batches whose time is over; returns how many."""
        at_ms, forgotten = now_ms(), 0
        overdue = self.records.overdue(self.region, now_ms=at_ms, pages_max=FORGET_PAGES_MAX)
        for key in list(overdue)[:FORGOTTEN_MAX]:
            kind, _, identity = key.partition("#")
            try:
                if kind == "batch":
                    self.records.forget(identity)
                elif (file := self.files.get(identity)) is not None:
                    self.payloads.erase_input(file.key, stored=file.home, copied=file.copied)
                    self.files.delete(file)
            except AWS_ERRORS as error:
                logger.warning("not forgotten", kind=kind, reason=reason(error))
            else:
                forgotten += 1
        return forgotten

    def _serves(self) -> bool:
        """Whether this region may work; takes over what regions have that cannot."""
        snapshot = self.gate.snapshot()
        if fenced(snapshot, regions=len(self.policy.regions), now_ms=now_ms()):
            return False
        if (snapshot.get("lease") or {}).get("state") == DRAINED:
            return False
        peers = snapshot.get("peers", {})
        away = [name for name, peer in peers.items() if peer["state"] in {LOST, DRAINED}]
        if away:
            for lease in self.leases.read(away).values():
                if lease.state in {LOST, DRAINED}:
                    self._take_over(lease.region)
        return True

    def _take_over(self, region: str) -> None:
        """Make another region's batches this one's; the first that writes it has it.

        What the other one has of their pieces cannot be counted on. Their jobs can: they have the
        same ids wherever they are asked for.
        """
        for identity in self.records.unfinished(region):
            batch = self.records.get(identity)
            if batch is not None and batch.owner == region and not batch.tidied:
                anew = {} if batch.status.terminal else RESTARTED
                if self.records.take_over(batch, self.region, **anew).won:
                    logger.info("batch taken over", batch_id=batch.id, source=region)

    def _round(self, time_left_ms: Callable[[], int]) -> tuple[int, bool]:
        """A step of each batch; how many were made, and whether any waits for its jobs."""
        ids = self.records.unfinished(self.region)
        first = self.turn[0] % len(ids) if ids else 0
        some = (ids[first:] + ids[:first])[:BATCHES_MAX]
        self.turn[0] += len(some)
        found = [batch for each in some if (batch := self.records.get(each)) is not None]
        # The index is late: some may be another region's by now, or done with.
        mine = [batch for batch in found if batch.owner == self.region and not batch.tidied]
        self.lines.keep(ids, mine)
        made, waiting = 0, False
        for batch in mine:
            if time_left_ms() < TIME_LEFT_MS_MIN:
                break
            try:
                done = self._step(batch)
            except AWS_ERRORS as error:
                logger.error("batch not brought on", batch_id=batch.id, reason=reason(error))
                continue
            made += int(done)
            waiting = waiting or not done
        return made, waiting

    def _step(self, batch: Batch) -> bool:
        """Do what is to be done for a batch next; whether that was anything."""
        at_ms = now_ms()
        match next_step(batch, now_ms=at_ms):
            case Step.SPLIT:
                return self.cutting.cut(batch)
            case Step.WORK:
                current = self.lines.ended(batch)
                if current is None:
                    return True
                return self.collecting.collect(current) or self.lines.submit(current)
            case Step.FINALIZE:
                return self.finishing.finish(batch)
            case Step.END:
                return self.finishing.end(batch)
        return self.finishing.tidy(batch)


def create(execution: Execution) -> Handler:
    """Wire the batches of an execution environment."""
    shared, names = endings(execution), execution.names
    dynamodb = execution.client("dynamodb")
    records, files = BatchRecords(dynamodb, names.ledger), FileRecords(dynamodb, names.ledger)
    pieces, payloads = batch_pieces(execution), payload_store(execution)
    lines = Lines(
        region=execution.region,
        policy=execution.policy,
        ledger=shared.ledger,
        gate=shared.gate,
        queues=shared.queues,
        functions=shared.functions,
        payloads=payloads,
        records=records,
        pieces=pieces,
    )
    batches = Batches(
        region=execution.region,
        policy=execution.policy,
        gate=shared.gate,
        leases=Leases(dynamodb, names.ledger),
        records=records,
        files=files,
        payloads=payloads,
        cutting=Cutting(
            policy=execution.policy,
            records=records,
            files=files,
            objects=file_objects(execution),
            pieces=pieces,
        ),
        lines=lines,
        collecting=Collecting(
            policy=execution.policy,
            ledger=shared.ledger,
            payloads=payloads,
            records=records,
            pieces=pieces,
            lines=lines,
        ),
        finishing=Finishing(
            region=execution.region,
            policy=execution.policy,
            records=records,
            files=files,
            pieces=pieces,
            outbox=shared.outbox,
        ),
        sleep=execution.sleep,
    )

    def handle(_event: dict[str, Any], context: Any) -> dict[str, int]:
        steps = batches.run(time_left_ms=context.get_remaining_time_in_millis)
        forgotten = batches.forget() if now_ms() // 60_000 % FORGET_EVERY_MIN == 0 else 0
        if steps or forgotten:
            logger.info("batches", steps=steps, forgotten=forgotten)
        return {"steps": steps, "forgotten": forgotten}

    return handle


handle = Function(create)
