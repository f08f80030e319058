"""What an operator can see of a whole deployment at once, as one document.

Everything comes from where the other commands look: the leases and releases in the ledger, the
snapshots that regions write into the directory, their alarms, the API's own health and list of
jobs, and on the twin the control port. Nothing here knows a twin from AWS.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx

from config.schema import TIERS, Deployment
from lambdas.domain.release import Release
from spillway import releases
from spillway.cli.aws import Replica, at_a_replica, aws_errors
from spillway.cli.faults import faults_of
from spillway.cli.terminal import CommandError
from spillway.directory import Directory
from spillway.leases import Leases
from spillway.releases import Records

Done = TypeVar("Done")

JOBS: Final = 12
EVENTS: Final = 6
ALARMS_EVERY_S: Final = 5.0
"""Alarms look at periods of ten seconds and more."""
ALARM_PAGES_MAX: Final = 20
HTTP_TIMEOUT_S: Final = 5.0
LOOKS_AT_ONCE: Final = 8
READY, NOT_READY = 200, 503


@dataclass(frozen=True, slots=True)
class Api:
    """Where the deployment's own API is.

    Args:
        urls: Base URLs, by region.
        key: Whose jobs are listed; None lists none.
    """

    urls: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


class Looking:
    """Looks at a deployment again and again; from any thread.

    Args:
        deployment: Which; may be replaced by a later configuration of the same one.
        endpoint_url: Where AWS is, if it is the twin.
        control_url: The twin's control port, if it has one.
        api: Where the API is.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        endpoint_url: str | None,
        control_url: str | None = None,
        api: Api | None = None,
    ) -> None:
        self.deployment = deployment
        self._endpoint_url = endpoint_url
        self._control_url = control_url
        self._api = api or Api()
        self._http = httpx.Client(timeout=HTTP_TIMEOUT_S, trust_env=False)
        self._making = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self._directories: dict[str, Directory] = {}
        self._alarms: dict[str, tuple[float, dict[str, Any]]] = {}
        self._away: frozenset[str] = frozenset()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def once(self) -> dict[str, Any]:
        """Look at everything, as far as it answers.

        Returns:
            What was seen; `problems` says what could not be.
        """
        problems: list[str] = []
        deployment = self.deployment
        faults = self._try(problems, self._faults) or {}
        self._away = frozenset(name for name, each in faults.items() if each.get("killed"))
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            jobs = pool.submit(self._jobs)
            regions = {
                region: self._region(pool, problems, region) for region in deployment.regions
            }
            records = {
                model: pool.submit(self._try, problems, self._record, model)
                for model in deployment.models
            }
            return {
                "at_ms": int(time.time() * 1000),
                "deployment": deployment.name,
                "tiers": list(TIERS),
                "models": _models(deployment),
                "regions": [
                    {**look(), "faults": faults.get(region)} for region, look in regions.items()
                ],
                "releases": [
                    self._release(model, record.result()) for model, record in records.items()
                ],
                "jobs": jobs.result(),
                "problems": list(dict.fromkeys(problems)),
            }

    def serve_again(self, region: str) -> str | None:
        """End the drain of a region; see `Leases.serve`.

        Raises:
            CommandError: No copy of the ledger answers.
        """
        return self._at(
            self.deployment.names.ledger, lambda client, _: self._leases(client).serve(region)
        )

    # -- global tables -----------------------------------------------------------------------

    def _at(self, table: str, act: Callable[[Any, Replica], Done]) -> Done:
        """Do something at the first copy of a global table that answers, the healthy ones first."""
        return at_a_replica(
            table,
            sorted(self.deployment.regions, key=lambda region: region in self._away),
            self._endpoint_url,
            lambda replica: act(self._client("dynamodb", replica.region), replica),
            missing_code="no_table",
            tell=lambda _: None,
        )

    def _leases(self, client: Any) -> Leases:
        return Leases(client, self.deployment.names.ledger, self.deployment.regions)

    def _faults(self) -> dict[str, dict[str, Any]]:
        return faults_of(self._control_url) if self._control_url else {}

    def _state(self, region: str) -> str | None:
        ledger = self.deployment.names.ledger
        return self._at(ledger, lambda client, _: self._leases(client).state(region))

    def _unfinished(self, region: str, model: str) -> int:
        ledger = self.deployment.names.ledger
        return self._at(ledger, lambda client, _: self._leases(client).unfinished(region, model))

    def _record(self, model: str) -> Release | None:
        ledger = self.deployment.names.ledger
        return self._at(ledger, lambda client, _: Records(client, ledger).find(model))

    def _snapshot(self, region: str) -> dict[str, Any]:
        name = self.deployment.names.directory
        return self._at(name, lambda _, replica: self._directory(replica.region).snapshot(region))

    def _release(self, name: str, record: Release | None) -> dict[str, Any]:
        if record is None:
            return {"model": name, "live": None}
        model = self.deployment.policy().models[name]
        events: list[dict[str, Any]] = record.document()["events"][-EVENTS:]
        return releases.status(record, model, self.deployment.regions) | {"events": events}

    # -- one region --------------------------------------------------------------------------

    def _region(
        self, pool: Executor, problems: list[str], region: str
    ) -> Callable[[], dict[str, Any]]:
        """Begin to look at a region; what is returned waits for what was seen."""

        def begin(look: Callable[..., Done], *words: str) -> Future[Done | None]:
            return pool.submit(self._try, problems, look, region, *words)

        state, snapshot = begin(self._state), begin(self._snapshot)
        health, alarms = begin(self._health), begin(self._alarms_of)
        unfinished = {model: begin(self._unfinished, model) for model in self.deployment.models}

        def end() -> dict[str, Any]:
            told = snapshot.result() or {}
            return {
                "region": region,
                "state": state.result(),
                **(health.result() or {}),
                "seen_ms": told.get("at_ms"),
                "models": [
                    _model(model, told.get("models", {}).get(model, {}), count.result())
                    for model, count in unfinished.items()
                ],
                "alarms": alarms.result(),
            }

        return end

    def _health(self, region: str) -> dict[str, Any]:
        """What a health check sees: `ready`, and why not; None where nobody knows the URL."""
        url = self._api.urls.get(region)
        if url is None:
            return {"ready": None, "reason": ""}
        try:
            answer = self._http.get(f"{url}/health/ready")
            document = answer.json()
        except (httpx.HTTPError, ValueError):
            return {"ready": False, "reason": "its API does not answer"}
        if answer.status_code == READY:
            return {"ready": True, "reason": ""}
        told = answer.status_code == NOT_READY and isinstance(document, dict)
        reason = str(document.get("reason") or "") if told else ""
        return {"ready": False, "reason": reason or f"its API answers {answer.status_code}"}

    def _alarms_of(self, region: str) -> dict[str, Any]:
        """How many alarms are in which state, and those that ring; a few seconds old at most."""
        at_s, known = self._alarms.get(region, (-ALARMS_EVERY_S, {}))
        if time.monotonic() - at_s < ALARMS_EVERY_S:
            return known
        if region in self._away:
            return {"states": {}, "ringing": []}
        prefix, client = self.deployment.names.deployment, self._client("cloudwatch", region)
        states: Counter[str] = Counter()
        ringing: list[dict[str, Any]] = []
        with aws_errors(region, "alarms", code="no_alarms"):
            pages = client.get_paginator("describe_alarms").paginate(
                AlarmNamePrefix=f"{prefix}-",
                AlarmTypes=["MetricAlarm", "CompositeAlarm"],
                PaginationConfig={"MaxItems": 100 * ALARM_PAGES_MAX},
            )
            for page in pages:
                for alarm in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]:
                    states[alarm["StateValue"]] += 1
                    if alarm["StateValue"] == "ALARM":
                        ringing.append(_alarm(alarm, prefix))
        seen = {"states": dict(states), "ringing": ringing}
        self._alarms[region] = (time.monotonic(), seen)
        return seen

    def _jobs(self) -> list[dict[str, Any]]:
        """The newest jobs of the key's tenant, from the first region whose API lists them."""
        if self._api.key is None:
            return []
        headers = {"Authorization": f"Bearer {self._api.key}"}
        for region in sorted(self._api.urls, key=lambda region: region in self._away):
            try:
                answer = self._http.get(
                    f"{self._api.urls[region]}/v1/jobs", params={"limit": JOBS}, headers=headers
                )
                if answer.status_code == READY:
                    jobs: list[dict[str, Any]] = answer.json()["data"]
                    return jobs
            except (httpx.HTTPError, ValueError):
                continue
        return []

    # -- means -------------------------------------------------------------------------------

    def _try(self, problems: list[str], look: Callable[..., Done], *words: Any) -> Done | None:
        """Look, or say what was in the way."""
        try:
            return look(*words)
        except CommandError as error:
            problems.append(str(error))
            return None

    def _client(self, service: str, region: str) -> Any:
        """A client, made once: to make one costs more than to use it."""
        with self._making:
            if (service, region) not in self._clients:
                replica = Replica(region, "", self._endpoint_url)
                self._clients[service, region] = replica.service(service)
            return self._clients[service, region]

    def _directory(self, region: str) -> Directory:
        with self._making:
            if region not in self._directories:
                replica = Replica(region, self.deployment.names.directory, self._endpoint_url)
                self._directories[region] = Directory(replica.table(), time.time)
            return self._directories[region]


def _model(name: str, seen: Mapping[str, Any], unfinished: int | None) -> dict[str, Any]:
    """A model in a region as the last beat saw it; how much is unfinished is of this moment."""
    return {
        "model": name,
        "unfinished": unfinished,
        "waiting": {tier: seen.get("waiting", {}).get(tier, 0) for tier in TIERS},
        "slots": {"in_use": seen.get("in_use", 0), "capacity": seen.get("capacity", 0)},
        "instances": [
            {"version": version, "serving": serving, "ordered": ordered}
            for version, (serving, ordered) in seen.get("fleet", {}).items()
        ],
    }


def _models(deployment: Deployment) -> list[dict[str, Any]]:
    return [
        {
            "model": name,
            "wanted": model.wanted,
            "versions": list(model.versions),
            "concurrency": model.concurrency,
        }
        for name, model in deployment.models.items()
    ]


def _alarm(alarm: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    kind, _, name = alarm["AlarmName"].removeprefix(f"{prefix}-").partition("-")
    return {
        "name": name,
        "kind": kind,
        "since_ms": int(alarm["StateUpdatedTimestamp"].timestamp() * 1000),
        "description": alarm.get("AlarmDescription", ""),
    }


def ringing(regions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every alarm that rings, with its region; those for people first."""
    found = [
        {"region": each["region"], **alarm}
        for each in regions
        for alarm in (each["alarms"] or {}).get("ringing", ())
    ]
    order = {"alarm": 0, "guard": 1}
    return sorted(found, key=lambda alarm: (order.get(alarm["kind"], 2), -alarm["since_ms"]))
