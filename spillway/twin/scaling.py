"""Application Auto Scaling: targets with bounds, policies that alarms call, scheduled actions.

moto's backend holds them, so that describe calls work, and is pointed here for as long as the
service is open, so that what operators change over boto3 takes effect. Only the variants of
SageMaker's endpoints are scaled. Pages cited as such are of the Application Auto Scaling user
guide, docs.aws.amazon.com/autoscaling/application/userguide.
"""

import json
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, Literal
from unittest.mock import patch

from moto.applicationautoscaling.exceptions import AWSValidationException
from moto.applicationautoscaling.models import ApplicationAutoscalingBackend as Backend
from moto.applicationautoscaling.models import (
    FakeApplicationAutoscalingPolicy,
    FakeScalableTarget,
    applicationautoscaling_backends,
)
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse

from spillway.twin.alarms import Alarms
from spillway.twin.clock import Event, Scheduler
from spillway.twin.policies import (
    StepScaling,
    TargetTracking,
    read_step_scaling,
    read_target_tracking,
)
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.sagemaker import Endpoint, SageMaker
from spillway.twin.scheduled_actions import ScheduledAction, read_scheduled_action

DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
NAMESPACE: Final = "sagemaker"
SUSPENSIONS: Final = ("DynamicScalingIn", "DynamicScalingOut", "ScheduledScaling")
POLL_S: Final = 10.0
"""How often the service looks whether an endpoint has become what it asked for; ours."""
ACTIVITIES_MAX: Final = 10_000
LISTED_DEFAULT: Final = 50


@dataclass(slots=True, kw_only=True, eq=False)
class Activity:
    """A change of capacity that was asked of an endpoint.

    Args:
        id: For people.
        account: Twelve digits.
        region: Where.
        resource: Which target, such as `endpoint/embedder/variant/live`.
        cause: What asked for it, as a sentence.
        before: Instances before it.
        after: Instances that it asked for.
        started_s: Seconds since the epoch.
        base: What the capacity is counted from while its cooldown lasts.
        cooldown_s: Seconds from its end in which it counts.
        ended_s: When the endpoint was in service again, None until then.
        failed: Whether the endpoint did not become what was asked for.
    """

    id: str
    account: str
    region: str
    resource: str
    cause: str
    before: int
    after: int
    started_s: float
    base: int = 0
    cooldown_s: float = 0.0
    ended_s: float | None = None
    failed: bool = False

    def cools(self, now_s: float) -> bool:
        """Whether its cooldown lasts: it begins when the activity "completes successfully"."""
        if self.ended_s is None:
            return True
        return not self.failed and now_s < self.ended_s + self.cooldown_s

    def told(self) -> dict[str, Any]:
        """What DescribeScalingActivities tells of it."""
        what = f"desired instance count to {self.after}"
        done = f"Successfully set {what}. Change successfully fulfilled by sagemaker."
        status, message = ("Failed", f"Failed to set {what}.")
        if self.ended_s is None:
            status, message = ("InProgress", f"Setting {what}.")
        elif not self.failed:
            status, message = ("Successful", done)
        found: dict[str, Any] = {
            "ActivityId": self.id,
            "ServiceNamespace": NAMESPACE,
            "ResourceId": self.resource,
            "ScalableDimension": DIMENSION,
            "Description": f"Setting {what}.",
            "Cause": self.cause,
            "StartTime": self.started_s,
            "StatusCode": status,
            "StatusMessage": message,
        }
        return found if self.ended_s is None else found | {"EndTime": self.ended_s}


@dataclass(slots=True, kw_only=True, eq=False)
class _Policy:
    """A policy at work.

    Args:
        arn: Of the policy.
        name: For people.
        rule: Its arithmetic.
        low: The alarm that lets target tracking scale in, by name; empty without one.
        grown: Its latest scale-out.
        value: The data point that it was called with last.
    """

    arn: str
    name: str
    rule: StepScaling | TargetTracking
    low: str = ""
    grown: Activity | None = None
    value: float | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Target:
    """A scalable target at work.

    Args:
        account: Twelve digits.
        region: Where.
        resource: Its id, such as `endpoint/embedder/variant/live`.
        bounds: What moto keeps of it.
        policies: By name.
        calls: Value and threshold of the alarms that called a policy in this moment.
        grown: Its latest scale-out by a policy.
        shrunk: Its latest scale-in by a policy, unless a scale-out followed.
        latest: Its latest activity of any kind.
        timers: Of its scheduled actions, by name.
    """

    account: str
    region: str
    resource: str
    bounds: FakeScalableTarget
    policies: dict[str, _Policy] = field(default_factory=dict)
    calls: dict[_Policy, tuple[float, float]] = field(default_factory=dict)
    grown: Activity | None = None
    shrunk: Activity | None = None
    latest: Activity | None = None
    timers: dict[str, Event] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, str]:
        """Its endpoint and its variant."""
        endpoint, _, variant = self.resource.removeprefix("endpoint/").partition("/variant/")
        return endpoint, variant

    @property
    def state(self) -> Mapping[str, bool]:
        """Its SuspendedState."""
        state: Any = self.bounds.suspended_state  # moto keeps what it was given.
        return dict(state)

    def suspended(self, kind: str) -> bool:
        """Whether one of `SUSPENSIONS` is in effect."""
        return self.state[f"{kind}Suspended"]


class Scaling:
    """The scalable targets of every region and account of the twin, for as long as it is open.

    Args:
        scheduler: Time.
        sagemaker: Whose endpoints have instances.
        alarms: Where target tracking keeps its alarms.
        cooldowns: Whose scale-out a policy's next one is counted from while a cooldown lasts: its
            own, or any of the target's. AWS speaks of the policy's, and shows one policy only.

    Attributes:
        activities: Changes that were asked of endpoints, the latest `ACTIVITIES_MAX`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        sagemaker: SageMaker,
        alarms: Alarms,
        *,
        cooldowns: Literal["policy", "target"] = "policy",
    ) -> None:
        self.scheduler = scheduler
        self.cooldowns = cooldowns
        self.activities: deque[Activity] = deque(maxlen=ACTIVITIES_MAX)
        self._sagemaker = sagemaker
        self._alarms = alarms
        self._targets: dict[tuple[str, str, str], _Target] = {}
        self._policies: dict[str, tuple[_Target, _Policy]] = {}
        self._paused: set[str] = set()
        self._numbers = count(1)
        self._undo = ExitStack()
        self._moto = _Moto(self)
        for owner, name, ours in self._moto.methods():
            self._undo.enter_context(patch.object(owner, name, ours, create=True))

    def close(self) -> None:
        """Run no more scheduled actions, and give moto its own targets back."""
        for target in self._targets.values():
            for timer in target.timers.values():
                timer.cancel()
        self._undo.close()

    def pause(self, region: str) -> None:
        """Scale nothing in a region until `resume`; what was scheduled meanwhile never runs."""
        self._paused.add(region)

    def resume(self, region: str) -> None:
        """Scale again."""
        self._paused.discard(region)

    # -- deployment --------------------------------------------------------------------------

    def create(self, resource: Resource) -> Resource:
        """Create a target with its scheduled actions, or a policy, of a template.

        Raises:
            ValueError: Application Auto Scaling would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        backend = applicationautoscaling_backends[resource.account][resource.region]
        if resource.type.endswith("::ScalingPolicy"):
            return self._create_policy(resource, backend)
        properties = resource.properties
        namespace, target = properties["ServiceNamespace"], properties["ResourceId"]
        dimension = properties["ScalableDimension"]
        self.register(
            backend,
            (namespace, target, dimension),
            least=int(properties["MinCapacity"]),
            most=int(properties["MaxCapacity"]),
            role=properties.get("RoleARN", ""),
            suspended=properties.get("SuspendedState"),
        )
        for action in properties.get("ScheduledActions", []):
            self.schedule(
                backend,
                (namespace, target, dimension),
                name=action["ScheduledActionName"],
                properties=action,
            )
        identity = f"{target}|{dimension}|{namespace}"
        return replace(resource, physical_id=identity, attributes={"Id": identity})

    def _create_policy(self, resource: Resource, backend: Backend) -> Resource:
        properties = resource.properties
        if "ScalingTargetId" in properties:
            target, dimension, namespace = properties["ScalingTargetId"].split("|")
        else:
            target, dimension = properties["ResourceId"], properties["ScalableDimension"]
            namespace = properties["ServiceNamespace"]
        kind = properties["PolicyType"]
        policy = self.put_policy(
            backend,
            (namespace, target, dimension),
            name=properties["PolicyName"],
            kind=kind,
            body=properties.get(f"{kind}PolicyConfiguration"),
        )
        arn = policy.policy_arn
        return replace(resource, physical_id=arn, attributes={"Arn": arn})

    # -- targets -----------------------------------------------------------------------------

    def register(
        self,
        backend: Backend,
        identity: tuple[str, str, str],
        *,
        least: int | None,
        most: int | None,
        role: str,
        suspended: Mapping[str, bool] | None,
    ) -> FakeScalableTarget:
        """Register or update a target, and bring its endpoint within the bounds.

        Args:
            backend: Of the account and region.
            identity: Namespace, resource id and dimension.
            least: MinCapacity; None to keep it.
            most: MaxCapacity; None to keep it.
            role: ARN of a role; makes no difference.
            suspended: What is suspended and what is not; the rest is kept.

        Raises:
            ValueError: Application Auto Scaling would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        namespace, resource, dimension = identity
        if (namespace, dimension) != (NAMESPACE, DIMENSION):
            raise UnsupportedError(f"ScalableDimension: only {DIMENSION} runs")
        account, region = str(backend.account_id), backend.region_name
        known = self._targets.get((account, region, resource))
        state: Any = {f"{kind}Suspended": False for kind in SUSPENSIONS}
        if known is not None:
            least = known.bounds.min_capacity if least is None else least
            most = known.bounds.max_capacity if most is None else most
            state |= known.state
        if least is None or most is None:
            raise ValueError("MinCapacity and MaxCapacity are required for a new target")
        if not 0 <= least <= most:
            raise ValueError(f"MinCapacity {least} is not within 0 and MaxCapacity {most}")
        state |= suspended or {}
        endpoint = self._named(region, resource)
        if endpoint is None:
            raise ValueError(f"there is no endpoint variant {resource!r} to scale")
        bounds: FakeScalableTarget = self._moto.register(
            backend, namespace, resource, dimension, least, most, role, state
        )
        target = known or _Target(account=account, region=region, resource=resource, bounds=bounds)
        self._targets[account, region, resource] = target
        # "If the specified resource is not active in the target service, this operation does not
        # change the resource's current capacity." (API reference, "RegisterScalableTarget")
        if endpoint.status == "InService":
            self._bound(target, "the target was registered")
        return bounds

    def deregister(self, backend: Backend, resource: str) -> None:
        """Forget a target with its policies and scheduled actions, if there is one."""
        key = (str(backend.account_id), backend.region_name, resource)
        target = self._targets.get(key)
        if target is None:
            return
        for name in list(target.policies):
            backend.delete_scaling_policy(
                policy_name=name,
                service_namespace=NAMESPACE,
                resource_id=resource,
                scalable_dimension=DIMENSION,
            )
        for timer in target.timers.values():
            timer.cancel()
        del self._targets[key]
        backend.scheduled_actions = [
            action for action in backend.scheduled_actions if action.resource_id != resource
        ]

    def _named(self, region: str, resource: str) -> Endpoint | None:
        """The endpoint of a target's id, if there is one."""
        kind, _, rest = resource.partition("/")
        name, _, variant = rest.partition("/variant/")
        try:
            endpoint = self._sagemaker.endpoint(region, name)
        except KeyError:
            return None
        fits = kind == "endpoint" and endpoint.variant["VariantName"] == variant
        return endpoint if fits else None

    def _target(self, backend: Backend, identity: tuple[str, ...]) -> _Target:
        namespace, resource, dimension = identity
        key = (str(backend.account_id), backend.region_name, resource)
        if (namespace, dimension) != (NAMESPACE, DIMENSION) or key not in self._targets:
            raise ValueError(
                f"No scalable target found for service namespace: {namespace}, resource ID: "
                f"{resource}, scalable dimension: {dimension}"
            )
        return self._targets[key]

    # -- policies ----------------------------------------------------------------------------

    def put_policy(
        self,
        backend: Backend,
        identity: tuple[str, str, str],
        *,
        name: str,
        kind: str | None,
        body: Mapping[str, Any] | None,
    ) -> FakeApplicationAutoscalingPolicy:
        """Create or update a policy of a target, with its alarms if it tracks a metric.

        Args:
            backend: Of the account and region.
            identity: Namespace, resource id and dimension of the target.
            name: Unique among the target's policies.
            kind: `StepScaling` or `TargetTrackingScaling`.
            body: The configuration of that kind.

        Raises:
            ValueError: Application Auto Scaling, or CloudWatch, would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        target = self._target(backend, identity)
        if body is None:
            raise ValueError(f"policy {name} of type {kind} has no configuration of that type")
        rule: StepScaling | TargetTracking
        if kind == "StepScaling":
            rule = read_step_scaling(body)
        elif kind == "TargetTrackingScaling":
            endpoint, variant = target.names
            rule = read_target_tracking(body, endpoint=endpoint, variant=variant)
        else:
            raise UnsupportedError(f"PolicyType: {kind} is not run")
        known = target.policies.get(name)
        namespace, resource, dimension = identity
        put: FakeApplicationAutoscalingPolicy = self._moto.put_policy(
            backend, name, namespace, resource, dimension, dict(body), kind
        )
        if known is not None:
            put.policy_arn = known.arn
        policy = _Policy(arn=put.policy_arn, name=name, rule=rule)
        if known is not None:
            policy.grown = known.grown
        if isinstance(rule, TargetTracking):
            self._watch(target, policy, rule, put)
        if known is not None and known.low and not policy.low:
            self._alarms.delete(target.account, target.region, known.low)
        target.policies[name] = policy
        self._policies[policy.arn] = (target, policy)
        return put

    def _watch(
        self,
        target: _Target,
        policy: _Policy,
        rule: TargetTracking,
        put: FakeApplicationAutoscalingPolicy,
    ) -> None:
        """Create the alarms of target tracking."""
        for kind, properties in rule.alarms(target.resource, policy.arn).items():
            alarm = self._alarms.put(target.account, target.region, properties)
            put.alarms.append(alarm)
            if kind == "AlarmLow":
                policy.low = str(alarm.name)

    def forget_policy(self, backend: Backend, resource: str, name: str) -> None:
        """Forget a policy of a target, if there is one."""
        target = self._targets.get((str(backend.account_id), backend.region_name, resource))
        policy = None if target is None else target.policies.pop(name, None)
        if policy is not None:
            del self._policies[policy.arn]

    def execute(
        self, region: str, policy_arn: str, *, value: float | None, threshold: float | None
    ) -> None:
        """Run an alarm's action on a policy; alarms repeat it while they stay in their state.

        Calls of one moment are weighed together, so that the largest capacity wins. A policy that
        is not there, or an alarm without a data point, moves nothing; neither does an endpoint
        that is being updated: the alarm's next repetition finds it later.

        Args:
            region: Of the alarm and the policy.
            policy_arn: The action's ARN.
            value: The alarm's latest data point.
            threshold: The alarm's; a composite one has none.
        """
        found = self._policies.get(policy_arn.partition(":createdBy/")[0])
        if found is None or value is None or threshold is None or region in self._paused:
            return
        target, policy = found
        if not target.calls:
            self.scheduler.after(0.0, self._decide, target)
        policy.value = value
        target.calls[policy] = (value, threshold)

    def _decide(self, target: _Target) -> None:
        """Weigh the calls of one moment, and act on the one that asks for most."""
        calls, target.calls = target.calls, {}
        endpoint = self._named(target.region, target.resource)
        if endpoint is None or endpoint.status != "InService" or target.region in self._paused:
            return
        if target.latest is not None:
            self._settle(target, target.latest)
        current = endpoint.desired
        goals: dict[_Policy, int] = {}
        for policy, (value, threshold) in calls.items():
            goal = self._goal(target, policy, current, value=value, threshold=threshold)
            if goal is not None:
                goals[policy] = goal
        if not goals:
            return
        # "Application Auto Scaling gives precedence to the policy that provides the largest
        # capacity for both scale out and scale in." (API reference, "PutScalingPolicy")
        policy = max(goals, key=lambda each: goals[each])
        goal = self._within(target, goals[policy])
        if goal == current or target.suspended(
            "DynamicScalingOut" if goal > current else "DynamicScalingIn"
        ):
            return
        self._grow_or_shrink(target, endpoint, policy, goal)

    def _goal(
        self, target: _Target, policy: _Policy, current: int, *, value: float, threshold: float
    ) -> int | None:
        """What one policy asks for, None if it has no say now.

        Source:
            "How step scaling works" and "How target tracking scaling works", cooldown periods.
        """
        goal = policy.rule.wanted(current, value, threshold)
        if goal is None:
            return None
        grown = self._grown(target, policy)
        if goal > current and grown is not None:
            # What the activity added counts as a part of what this one adds.
            goal = max(current, policy.rule.wanted(grown.base, value, threshold) or 0)
        if goal >= current:
            return goal
        if target.shrunk is not None and target.shrunk.cools(self.scheduler.now()):
            return None
        if isinstance(policy.rule, TargetTracking):
            return self._agreed(target, policy, current, goal)
        return goal

    def _grown(self, target: _Target, policy: _Policy) -> Activity | None:
        """The scale-out whose cooldown lasts for a policy, if one does."""
        grown = policy.grown if self.cooldowns == "policy" else target.grown
        return grown if grown is not None and grown.cools(self.scheduler.now()) else None

    def _agreed(self, target: _Target, policy: _Policy, current: int, goal: int) -> int | None:
        """What target tracking scales in to, None unless every such policy is ready to.

        It "will scale in only if all of the target tracking policies (with the scale-in portion
        enabled) are ready to scale in" ("How target tracking scaling works").
        """
        for other in target.policies.values():
            if other is policy or not other.low:
                continue
            if not self._in_alarm(target.region, other.low):
                return None
            if other.value is not None:
                goal = max(goal, other.rule.wanted(current, other.value, 0.0) or 0)
        return goal

    def _in_alarm(self, region: str, name: str) -> bool:
        try:
            return self._alarms.state(region, name).value == "ALARM"
        except KeyError:
            return False

    # -- activities --------------------------------------------------------------------------

    def _within(self, target: _Target, capacity: int) -> int:
        least, most = int(target.bounds.min_capacity or 0), int(target.bounds.max_capacity or 0)
        return min(most, max(least, capacity))

    def _grow_or_shrink(
        self, target: _Target, endpoint: Endpoint, policy: _Policy, goal: int
    ) -> None:
        """Change the capacity for a policy, whose cooldown begins when that is done."""
        before, grown = endpoint.desired, self._grown(target, policy)
        out = goal > before
        rule = policy.rule
        if isinstance(rule, TargetTracking):
            cooldown_s = rule.out_cooldown_s if out else rule.in_cooldown_s
        else:
            cooldown_s = rule.cooldown_s
        # A larger step during a cooldown counts from where that cooldown counts from.
        base = grown.base if grown is not None and out else before
        cause = f"an alarm called policy {policy.name}"
        activity = self._change(target, endpoint, goal, cause, base=base, cooldown_s=cooldown_s)
        if out:
            # "In this case, the cooldown period for the scale-in activity stops."
            policy.grown = target.grown = activity
            target.shrunk = None
        else:
            target.shrunk = activity

    def _change(
        self,
        target: _Target,
        endpoint: Endpoint,
        goal: int,
        cause: str,
        *,
        base: int = 0,
        cooldown_s: float = 0.0,
    ) -> Activity:
        activity = self._note(target, cause, endpoint.desired, goal)
        activity.base, activity.cooldown_s = base, cooldown_s
        self._sagemaker.resize(endpoint, goal)
        target.latest = activity
        self._poll(target, activity)
        return activity

    def _note(self, target: _Target, cause: str, before: int, after: int) -> Activity:
        activity = Activity(
            id=str(uuid.UUID(int=next(self._numbers))),
            account=target.account,
            region=target.region,
            resource=target.resource,
            cause=cause,
            before=before,
            after=after,
            started_s=self.scheduler.now(),
        )
        self.activities.append(activity)
        return activity

    def _poll(self, target: _Target, activity: Activity) -> None:
        """Look again and again whether an activity has ended."""
        self._settle(target, activity)
        if activity.ended_s is None:
            self.scheduler.after(POLL_S, self._poll, target, activity)

    def _settle(self, target: _Target, activity: Activity) -> None:
        """End an activity if its endpoint is in service, or will not be."""
        endpoint = self._named(target.region, target.resource)
        settled = endpoint is None or endpoint.status in ("InService", "Failed")
        if activity.ended_s is None and settled:
            activity.ended_s = self.scheduler.now()
            activity.failed = endpoint is None or endpoint.desired != activity.after

    def _bound(self, target: _Target, cause: str) -> None:
        """Bring an endpoint within its target's bounds, as soon as it takes a change."""
        endpoint = self._named(target.region, target.resource)
        if endpoint is None or endpoint.status == "Failed":
            return
        if endpoint.status != "InService" or target.region in self._paused:
            self.scheduler.after(POLL_S, self._bound, target, cause)
            return
        goal = self._within(target, endpoint.desired)
        if goal != endpoint.desired:
            self._change(target, endpoint, goal, cause)

    # -- scheduled actions -------------------------------------------------------------------

    def schedule(
        self,
        backend: Backend,
        identity: tuple[str, str, str],
        *,
        name: str,
        properties: Mapping[str, Any],
    ) -> None:
        """Create or replace a scheduled action of a target.

        Args:
            backend: Of the account and region.
            identity: Namespace, resource id and dimension of the target.
            name: Unique among the target's actions.
            properties: Schedule, Timezone, StartTime, EndTime and ScalableTargetAction.

        Raises:
            ValueError: Application Auto Scaling would refuse it.
            UnsupportedError: The twin cannot run its schedule.
        """
        target = self._target(backend, identity)
        now_s = self.scheduler.now()
        action = read_scheduled_action(properties, now_s)
        namespace, resource, dimension = identity
        self._moto.put_action(
            backend,
            namespace,
            properties["Schedule"],
            properties.get("Timezone"),
            name,
            resource,
            dimension,
            action.start_s,
            action.end_s,
            dict(properties["ScalableTargetAction"]),
        )
        self._cancel(target, name)
        self._plan(target, name, action, now_s)

    def unschedule(self, backend: Backend, resource: str, name: str) -> None:
        """Forget a scheduled action of a target, if there is one."""
        target = self._targets.get((str(backend.account_id), backend.region_name, resource))
        if target is not None:
            self._cancel(target, name)

    def _cancel(self, target: _Target, name: str) -> None:
        timer = target.timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _plan(self, target: _Target, name: str, action: ScheduledAction, after_s: float) -> None:
        target.timers.pop(name, None)
        when_s = action.next_s(after_s)
        if when_s is not None:
            target.timers[name] = self.scheduler.at(when_s, self._run, target, name, action, when_s)

    def _run(self, target: _Target, name: str, action: ScheduledAction, when_s: float) -> None:
        """Set a target's bounds, without waiting for any cooldown."""
        self._plan(target, name, action, when_s)
        if target.region in self._paused or target.suspended("ScheduledScaling"):
            return
        bounds = target.bounds
        least = int((bounds.min_capacity if action.least is None else action.least) or 0)
        most = int((bounds.max_capacity if action.most is None else action.most) or 0)
        if least > most:
            # "you must include both sizes to ensure that the new minimum capacity is not greater
            # than the maximum capacity" ("How scheduled scaling works")
            cause = f"scheduled action {name}: at least {least} but at most {most}"
            refused = self._note(target, cause, least, least)
            refused.ended_s, refused.failed = refused.started_s, True
            return
        bounds.min_capacity, bounds.max_capacity = least, most
        self._bound(target, f"scheduled action {name}")


class _Moto:
    """What moto's Application Auto Scaling calls, whoever asked, and what it did before."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        # Their arguments have types that their callers do not keep to.
        self.register: Any = Backend.register_scalable_target
        self.deregister: Any = Backend.deregister_scalable_target
        self.put_policy: Any = Backend.put_scaling_policy
        self.delete_policy: Any = Backend.delete_scaling_policy
        self.put_action: Any = Backend.put_scheduled_action
        self.delete_action: Any = Backend.delete_scheduled_action

    def methods(self) -> list[tuple[type, str, Callable[..., Any]]]:
        """Functions that take the place of moto's methods: owner, name and function."""
        moto, scaling = self, self._scaling

        def register(
            backend: Backend,
            namespace: str,
            r_id: str,
            dimension: str,
            *,
            min_capacity: int | None,
            max_capacity: int | None,
            role_arn: str,
            suspended_state: Mapping[str, bool] | None,
        ) -> Any:
            with _refusals():
                return scaling.register(
                    backend,
                    (namespace, r_id, dimension),
                    least=min_capacity,
                    most=max_capacity,
                    role=role_arn,
                    suspended=suspended_state,
                )

        def deregister(backend: Backend, namespace: str, r_id: str, dimension: str) -> None:
            moto.deregister(backend, namespace, r_id, dimension)
            scaling.deregister(backend, r_id)

        def put_policy(backend: Backend, **asked: Any) -> Any:
            with _refusals():
                return scaling.put_policy(
                    backend,
                    (asked["service_namespace"], asked["resource_id"], asked["scalable_dimension"]),
                    name=asked["policy_name"],
                    kind=asked["policy_type"],
                    body=asked["policy_body"],
                )

        def delete_policy(backend: Backend, **asked: Any) -> None:
            moto.delete_policy(backend, **asked)
            scaling.forget_policy(backend, asked["resource_id"], asked["policy_name"])

        def put_action(backend: Backend, **asked: Any) -> None:
            with _refusals():
                scaling.schedule(
                    backend,
                    (asked["service_namespace"], asked["resource_id"], asked["scalable_dimension"]),
                    name=asked["scheduled_action_name"],
                    properties={
                        "Schedule": asked["schedule"],
                        "Timezone": asked["timezone"],
                        "StartTime": asked["start_time"],
                        "EndTime": asked["end_time"],
                        "ScalableTargetAction": asked["scalable_target_action"],
                    },
                )

        def delete_action(backend: Backend, **asked: Any) -> None:
            moto.delete_action(backend, **asked)
            scaling.unschedule(backend, asked["resource_id"], asked["scheduled_action_name"])

        def activities(response: ApplicationAutoScalingResponse) -> str:
            return json.dumps(_listed(scaling.activities, response))

        return [
            (Backend, "register_scalable_target", register),
            (Backend, "deregister_scalable_target", deregister),
            (Backend, "put_scaling_policy", put_policy),
            (Backend, "delete_scaling_policy", delete_policy),
            (Backend, "put_scheduled_action", put_action),
            (Backend, "delete_scheduled_action", delete_action),
            # moto has no such operation.
            (ApplicationAutoScalingResponse, "describe_scaling_activities", activities),
        ]


@contextmanager
def _refusals() -> Iterator[None]:
    """Answer callers of boto3 as the service does."""
    try:
        yield
    except (ValueError, UnsupportedError) as error:
        raise AWSValidationException(str(error)) from error


def _listed(
    activities: Iterable[Activity], response: ApplicationAutoScalingResponse
) -> dict[str, Any]:
    """One page of activities, the latest first."""
    ours = response._get_param("ServiceNamespace") == NAMESPACE  # noqa: SLF001 moto's way
    resource = response._get_param("ResourceId")  # noqa: SLF001
    limit = int(response._get_param("MaxResults") or LISTED_DEFAULT)  # noqa: SLF001
    start = int(response._get_param("NextToken") or 0)  # noqa: SLF001
    found = [
        activity.told()
        for activity in reversed(list(activities))
        if ours
        and (activity.account, activity.region) == (response.current_account, response.region)
        and resource in (None, activity.resource)
    ]
    page: dict[str, Any] = {"ScalingActivities": found[start : start + limit]}
    if start + limit < len(found):
        page["NextToken"] = str(start + limit)
    return page
