"""batches: every minute, and when a batch is made or cancelled, brings the batches on.

One execution at a time works on all batches of a region, a bounded step of each in turn. What is
to be done next follows from the batch's item alone, so that any step may be done again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.clock import now_ms
from lambdas.adapters.files import FileRecords
from lambdas.adapters.gate import Gate
from lambdas.adapters.leases import Leases
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.payloads import Payloads
from lambdas.domain.batches import (
    GRACE_MS,
    REFUSED_GRACE_MS,
    RESTARTED,
    Batch,
    Step,
    in_turn,
    next_step,
)
from lambdas.domain.policy import Policy
from lambdas.domain.regions import DRAINED, LOST, fenced
from lambdas.handlers.collecting import Collecting
from lambdas.handlers.counting import Quotas
from lambdas.handlers.cutting import Cutting
from lambdas.handlers.finishing import Finishing
from lambdas.handlers.lines import Lines
from lambdas.handlers.ports import batch_pieces, endings, file_objects, payload_store
from lambdas.handlers.standstill import Standstill
from lambdas.wiring import Execution, Function, Handler

POLL_S = 5.0
"""Between two looks at jobs that are under way; one look reads `lines.LOOK_MAX` of a batch."""
ROUNDS_MAX = 10_000
BATCHES_MAX = 50
"""Batches that are brought on in one round; the next round goes on."""
TAKEN_OVER_MAX = 100
"""Batches of another region that become this one's in one round: thousands of them at once would
take all the time of a run, and this region's own have turns in between."""
TIME_LEFT_MS_MIN = 120_000
"""For one step: to check a file of 200 MB, to collect a block of large answers, to put a file of
1 GB together. A step that is cut short is begun again."""
FORGOTTEN_MAX = 2000
"""In one run, of which there are 48 a day."""
FORGET_TIME_LEFT_MS_MIN = 10_000
FORGET_PAGES_MAX = 20
FORGET_EVERY_MIN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Brings the batches of one region on.

    Attributes:
        turn: Counts the turns of all batches.
        turns: By batch, when it had its last one: a new environment begins anew.
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
    standstill: Standstill
    sleep: Callable[[float], None]
    turn: Iterator[int] = field(default_factory=lambda: count(1))
    turns: dict[str, int] = field(default_factory=dict)

    def run(self, *, time_left_ms: Callable[[], int]) -> int:
        """Bring the batches on until nothing is left to do, or no time; returns steps made.

        Raises:
            Exception: A fault of ours in the step of a batch, when the others have been worked on.
        """
        steps = 0
        faults: list[Exception] = []
        for _ in range(ROUNDS_MAX):
            if time_left_ms() < TIME_LEFT_MS_MIN:
                break
            made, waiting = 0, False
            if self._serves():
                made, waiting = self._round(time_left_ms, faults)
            else:
                self.standstill.away()
            self.standstill.tell(now_ms=now_ms())
            steps += made
            if not made:
                if not waiting or time_left_ms() < TIME_LEFT_MS_MIN + 1000 * POLL_S:
                    break
                self.sleep(POLL_S)
        if faults:  # told as every function's fault is, after the other batches had their turns
            raise faults[0]
        return steps

    def forget(self, *, time_left_ms: Callable[[], int]) -> int:
        """Delete files and batches whose time is over, while there is time; returns how many."""
        forgotten = 0
        overdue = self.records.overdue(self.region, now_ms=now_ms(), pages_max=FORGET_PAGES_MAX)
        for key in islice(overdue, FORGOTTEN_MAX):
            if time_left_ms() < FORGET_TIME_LEFT_MS_MIN:
                break
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
        for identity, _ in self.records.unfinished(region)[:TAKEN_OVER_MAX]:
            batch = self.records.get(identity)
            if batch is not None and batch.owner == region and not batch.tidied:
                anew = {} if batch.status.terminal else RESTARTED
                if self.records.take_over(batch, self.region, **anew).won:
                    logger.info("batch taken over", batch_id=batch.id, source=region)

    def _round(self, time_left_ms: Callable[[], int], faults: list[Exception]) -> tuple[int, bool]:
        """A step of each batch; how many were made, and whether any waits for its jobs.

        What goes wrong with one batch is no other's concern: it is noted among `faults`.
        """
        listed = self.records.unfinished(self.region)
        ids = {identity for identity, _ in listed}
        for gone in set(self.turns) - ids:
            del self.turns[gone]
            self.standstill.went_on(gone)
        some = in_turn(listed, self.turns)[:BATCHES_MAX]
        found = [batch for each in some if (batch := self.records.get(each)) is not None]
        # The index is late: some may be another region's by now, or done with.
        mine = {b.id: b for b in found if b.owner == self.region and not b.tidied}
        self.lines.keep(ids, mine.values())
        made, waiting = 0, False
        for identity in some:
            if time_left_ms() < TIME_LEFT_MS_MIN:
                break
            self.turns[identity] = next(self.turn)
            if identity not in mine:
                self.standstill.went_on(identity)
                continue
            try:
                done = self._step(mine[identity])
            except AWS_ERRORS as error:
                logger.error("batch not brought on", batch_id=identity, reason=reason(error))
                self.standstill.stood(identity)
                self._give_up(mine[identity], grace_ms=REFUSED_GRACE_MS)
                continue
            except Exception as error:  # noqa: BLE001 one batch is not to end all others' work
                logger.error("batch not understood", batch_id=identity, reason=reason(error))
                faults.append(error)
                self.standstill.stood(identity)
                self._give_up(mine[identity], grace_ms=GRACE_MS)
                continue
            self.standstill.went_on(identity)
            made += int(done)
            waiting = waiting or not (done or self.lines.rests(mine[identity]))
        return made, waiting

    def _give_up(self, batch: Batch, *, grace_ms: int) -> None:
        """End a batch with which something goes wrong for longer than any may take."""
        if batch.status.terminal or now_ms() < batch.expires_ms + grace_ms:
            return
        try:
            self.finishing.end(batch)
        except AWS_ERRORS as error:
            logger.error("batch not given up", batch_id=batch.id, reason=reason(error))

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
        usage=shared.usage,
        quotas=Quotas(policy=execution.policy, counters=shared.usage.counters),
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
        standstill=Standstill(region=execution.region, metrics=Metrics(names.metrics)),
        sleep=execution.sleep,
    )

    def handle(_event: dict[str, Any], context: Any) -> dict[str, int]:
        begun_min = now_ms() // 60_000
        time_left_ms: Callable[[], int] = context.get_remaining_time_in_millis
        try:
            steps = batches.run(time_left_ms=time_left_ms)
        finally:
            # Whichever minute of the hour it was in between, and whatever became of the batches.
            due = begun_min // FORGET_EVERY_MIN < now_ms() // 60_000 // FORGET_EVERY_MIN
            due = due or begun_min % FORGET_EVERY_MIN == 0
            forgotten = batches.forget(time_left_ms=time_left_ms) if due else 0
        if steps or forgotten:
            logger.info("batches", steps=steps, forgotten=forgotten)
        return {"steps": steps, "forgotten": forgotten}

    return handle


handle = Function(create)
