"""Regions as wholes: killed, cut off, slowed, with clocks that are wrong, and brought back."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, overload

from spillway.twin.alarms import Alarms
from spillway.twin.apigateway import ApiGateway
from spillway.twin.calls import Call, Hook
from spillway.twin.dynamodb import DynamoDb
from spillway.twin.event_sources import EventSources
from spillway.twin.events import Events
from spillway.twin.functions import Functions
from spillway.twin.metrics import Metrics
from spillway.twin.s3 import S3
from spillway.twin.sagemaker import SageMaker
from spillway.twin.scaling import Scaling
from spillway.twin.schedules import Schedules

Side = Literal["global", "clients"]
SIDES: Final[tuple[Side, ...]] = ("global", "clients")
SLOW_FACTOR_MAX: Final = 10_000.0


class UnknownRegionError(LookupError):
    """The deployment has nothing in a region of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is wrong with a region; nothing, without arguments.

    Args:
        killed: Whether everything in it has stopped.
        isolated_from: What it is cut off from.
        slow_factor: How many times their usual time calls in and to it take.
        skew_s: How far the clocks of its machines are ahead.
    """

    killed: bool = False
    isolated_from: frozenset[Side] = frozenset()
    slow_factor: float = 1.0
    skew_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What there is in regions."""

    alarms: Alarms
    dynamodb: DynamoDb
    event_sources: EventSources
    events: Events
    functions: Functions
    gateway: ApiGateway
    metrics: Metrics
    s3: S3
    sagemaker: SageMaker
    scaling: Scaling
    schedules: Schedules


class Regions(Sequence[str]):
    """The regions of a deployment, and what happens to them as wholes.

    As a sequence: the regions that serve an API, in the order of deployment. Everything takes
    effect at once, may be called at any time, in a task or outside of one, and twice. In a task
    of a function that runs in the killed region, `kill` is where that function dies.

    Args:
        hook: Every call of functions goes through it. Those of operators, such as
            `twin.operator(region)`, are not touched: with them a test looks into a dead region.
        services: What is stopped and started again.
        names: Regions that the deployment has stacks in.
    """

    def __init__(self, hook: Hook, services: Services, *, names: Iterable[str]) -> None:
        self._hook = hook
        self._services = services
        self._names = list(names)
        self._conditions: dict[str, Condition] = {}
        self._outages: Counter[str] = Counter()
        hook.network = self
        services.gateway.connection = self._connection

    # -- faults ------------------------------------------------------------------------------

    def kill(self, region: str) -> None:
        """Stop everything in a region; what is stored there stays.

        Executions die where they are. No schedule, event source, asynchronous event or request
        starts one; what was accepted waits. Alarms are not evaluated, metrics are lost, and nothing
        is scaled. Calls to the region get a connect timeout, or a read timeout if they are on
        their way. Its endpoints answer nothing; what they were computing comes to the end that
        `Assumptions.in_flight` says once the region is back.

        Raises:
            UnknownRegionError: There is no such region.
        """
        condition = self.condition(region)
        if condition.killed:
            return
        self._conditions[region] = replace(condition, killed=True)
        self._outages[region] += 1
        services = self._services
        services.schedules.pause(region)
        services.alarms.pause(region)
        services.metrics.pause(region)
        services.scaling.pause(region)
        services.events.pause(region)
        services.event_sources.pause(region)
        services.sagemaker.pause(region)
        services.s3.replication.leave(region)
        services.dynamodb.replication.leave(region)
        services.functions.pause(region)

    def isolate(self, region: str, from_: Side = "global") -> None:
        """Cut a region off from the global tables only, or from the clients only.

        Args:
            region: Which.
            from_: `global`: the replicas of global tables there can be neither read nor written
                nor replicated, and its functions reach no other replica either. `clients`: its
                API cannot be reached; everything behind the API works.

        Raises:
            UnknownRegionError: There is no such region.
            ValueError: There is no such side.
        """
        condition = self.condition(region)
        if from_ not in SIDES:
            raise ValueError(f"a region is isolated from one of {', '.join(SIDES)}")
        self._conditions[region] = replace(
            condition, isolated_from=condition.isolated_from | {from_}
        )
        if from_ == "global":
            self._services.dynamodb.replication.leave(region)
        else:
            self._outages[region] += 1

    def slow(self, region: str, factor: float) -> None:
        """Let calls that are made in or to a region take so many times their usual time.

        A call that takes longer than its client's read timeout still has its effect.

        Raises:
            UnknownRegionError: There is no such region.
            ValueError: The factor is not from 1 to `SLOW_FACTOR_MAX`.
        """
        condition = self.condition(region)
        if not 1.0 <= factor <= SLOW_FACTOR_MAX:
            raise ValueError(f"the factor must be from 1 to {SLOW_FACTOR_MAX:g}")
        self._conditions[region] = replace(condition, slow_factor=factor)

    def skew(self, region: str, seconds: float) -> None:
        """Let the clocks of a region's machines be ahead, or behind by a negative number.

        Executions that begin from now on see it; `restore` does not touch it.

        Raises:
            UnknownRegionError: There is no such region.
            ValueError: The twin runs on the wall clock, which is this machine's.
        """
        condition = self.condition(region)
        functions = self._services.functions
        if not functions.scheduler.virtual:
            raise ValueError("only virtual clocks can be wrong")
        self._conditions[region] = replace(condition, skew_s=seconds)
        functions.skew_s[region] = seconds

    def restore(self, region: str) -> None:
        """End what `kill`, `isolate` and `slow` did to a region, as after an outage on AWS.

        Schedules tick from their next time on, queues hand out what they hold and what has
        become visible meanwhile, asynchronous events that waited are executed, and the replicas
        of eventually consistent tables and buckets exchange what they missed after their lag.

        Raises:
            UnknownRegionError: There is no such region.
        """
        condition = self.condition(region)
        self._conditions.pop(region, None)
        if condition.skew_s:
            self._conditions[region] = Condition(skew_s=condition.skew_s)
        services = self._services
        if condition.killed or "global" in condition.isolated_from:
            services.dynamodb.replication.rejoin(region, services.dynamodb.lag_s)
        if condition.killed:
            services.s3.replication.rejoin(region, services.s3.lag_s)
            services.sagemaker.resume(region)
            services.functions.resume(region)
            services.event_sources.resume(region)
            services.events.resume(region)
            services.metrics.resume(region)
            services.scaling.resume(region)
            services.alarms.resume(region)
            services.schedules.resume(region)

    def restore_all(self) -> None:
        """Bring every region back, and set every clock right."""
        for region, condition in list(self._conditions.items()):
            if condition.skew_s:
                self.skew(region, 0.0)
            self.restore(region)

    # -- what there is -----------------------------------------------------------------------

    @property
    def known(self) -> list[str]:
        """Every region that the methods take, a witness of the ledger included."""
        return list(dict.fromkeys([*self, *self._names, *self._services.dynamodb.regions()]))

    def condition(self, region: str) -> Condition:
        """What is wrong with a region.

        Raises:
            UnknownRegionError: There is no such region.
        """
        if region not in self._conditions and region not in self.known:
            raise UnknownRegionError(
                f"there is no region {region}; there is {', '.join(self.known) or 'none yet'}"
            )
        return self._conditions.get(region, _SOUND)

    def killed(self, region: str) -> bool:
        """Whether everything in a region has stopped."""
        return self._conditions.get(region, _SOUND).killed

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._services.gateway.regions()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._services.gateway.regions())

    def __len__(self) -> int:
        return len(self._services.gateway.regions())

    # -- the network -------------------------------------------------------------------------

    def cut(self, call: Call) -> bool:
        """Whether a call gets no answer now; see `spillway.twin.calls.Network`."""
        if not self._conditions:
            return False
        if any(self.killed(region) for region in self._touched(call)):
            return True
        if call.service != "dynamodb":
            return False
        isolated = any(
            "global" in self._conditions.get(region, _SOUND).isolated_from
            for region in (call.region, call.caller_region)
        )
        return isolated and self._services.dynamodb.is_global(call.params)

    def factor(self, call: Call) -> float:
        """How many times its usual time a call takes; see `spillway.twin.calls.Network`."""
        if not self._conditions:
            return 1.0
        return max(
            self._conditions.get(region, _SOUND).slow_factor for region in self._touched(call)
        )

    def _touched(self, call: Call) -> set[str]:
        """The regions that a call needs: of who calls, of the address, and of the bucket."""
        touched = {call.caller_region, call.region}
        if call.service == "s3" and (bucket := call.params.get("Bucket")):
            where = self._services.s3.region(self._hook.account, bucket)
            touched |= {where} if where else set()
        return touched

    def _connection(self, region: str) -> int | None:
        condition = self._conditions.get(region, _SOUND)
        if condition.killed or "clients" in condition.isolated_from:
            return None
        return self._outages[region]


_SOUND: Final = Condition()
