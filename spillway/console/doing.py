"""What the console's buttons do: what the commands do, to the same addresses."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from config.schema import TIERS, Deployment
from lambdas.domain.release import LEAST_URGENT_FIRST
from spillway.assembly import LocalError
from spillway.cli.faults import act as act_on_region
from spillway.cli.looking import Api, Looking, ringing
from spillway.cli.terminal import CommandError
from spillway.client import Client, RegionalApi, Retries, ServiceError
from spillway.console.server import ConsoleError

JOBS_MAX: Final = 1000
BURST_TIERS: Final = ("interactive", "standard", "batch", "standard", "batch")
"""Of a burst, in turn: more of what can wait."""
SENDERS: Final = 4
SENDING: Final = Retries(timeout_s=60.0, cool_down_s=5.0)
LOOK_AGAIN_S: Final = 1.0
"""However many pages are open, the deployment is looked at so often."""
TRIAL_JOBS_EVERY_S: Final = 0.5
TRIAL_S_MAX: Final = 900.0
"""A trial of which nothing came until then gets no more jobs from here."""
RECORD_S_MAX: Final = 180.0
"""A release begins within two minutes of being deployed."""
STOP_S_MAX: Final = 5.0
TEXT: Final = "Where is my parcel?"
INPUT_TOKENS: Final = 800
OUTPUT_TOKENS: Final = 60
"""Of a simulated model: a few seconds of work."""


class BadReleases(Protocol):
    """Releases of versions that fail jobs."""

    def version(self, model: str) -> str | None:
        """The version that would be released; None if the configuration has only one."""
        ...

    def release(self, model: str) -> Deployment:
        """Deploy the configuration with that version wanted.

        Raises:
            LocalError: It cannot be deployed.
        """
        ...


@dataclass(slots=True)
class Task:
    """Something that goes on after its button was pressed.

    Attributes:
        told: How far it is, in words.
        done: Jobs accepted so far.
        failed: Jobs that nobody accepted.
        of: Jobs in all; None if that is not known.
        running: Whether it goes on.
    """

    told: str = ""
    done: int = 0
    failed: int = 0
    of: int | None = None
    running: bool = False

    def document(self) -> dict[str, Any]:
        """For the page."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Seen:
    """The last look, and until when it is good enough."""

    until_s: float = 0.0
    document: dict[str, Any] = field(default_factory=dict)


class LocalConsole:
    """The console of a deployment on this machine.

    Args:
        looking: What is seen of it.
        api: Where its API is, with the key that jobs are submitted with.
        control_url: Where faults of regions are made.
        bad: Releases versions that fail.
    """

    def __init__(self, looking: Looking, *, api: Api, control_url: str, bad: BadReleases) -> None:
        self._looking = looking
        self._api = api
        self._control_url = control_url
        self._bad = bad
        self._look = threading.Lock()
        self._seen = _Seen()
        self._over = threading.Event()
        self._begin = threading.Lock()
        self._tasks = {"burst": Task(), "release": Task()}
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count(1)
        self._actions: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "submit": self._submit,
            "burst": self._burst,
            "kill": self._kill,
            "restore": self._restore,
            "release": self._release,
        }

    def close(self) -> None:
        """End what goes on."""
        self._over.set()
        for thread in self._threads:
            thread.join(STOP_S_MAX)
        self._looking.close()

    # -- what is shown -----------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Everything that the page shows."""
        seen = self._looked()
        return {
            **seen,
            "ringing": ringing(seen["regions"]),
            "offers": [self._offer(each) for each in seen["releases"]],
            "tasks": {name: task.document() for name, task in self._tasks.items()},
        }

    def _looked(self) -> dict[str, Any]:
        """The last look; a new one, unless somebody has just had one."""
        with self._look:
            began_s = time.monotonic()
            if began_s >= self._seen.until_s:
                document, took_s = self._looking.once(), time.monotonic() - began_s
                # Under load a look takes longer: what is looked at needs the machine as well.
                self._seen = _Seen(began_s + took_s + max(took_s, LOOK_AGAIN_S), document)
            return self._seen.document

    def _offer(self, release: Mapping[str, Any]) -> dict[str, Any]:
        """The bad version that can be released of a model, or why none can be."""
        model, version = str(release["model"]), self._bad.version(str(release["model"]))
        why_not = ""
        if version is None:
            why_not = (
                f"the configuration has one version of {model} only; config/demo.yaml has a second"
            )
        elif self._tasks["release"].running:
            why_not = "a release goes on"
        elif release["live"] is None:
            why_not = f"{model} has no record of releases yet: its regions write one in a minute"
        elif release["candidate"]:
            why_not = f"{release['candidate']} is on trial"
        elif version in release["quarantined"]:
            why_not = (
                f"{version} was taken back: `spillway release clear {model} {version}` "
                "lets it be released again"
            )
        elif version == release["live"]:
            why_not = f"{version} is live"
        return {"model": model, "version": version, "why_not": why_not}

    # -- what is done ------------------------------------------------------------------------

    def act(self, action: str, wanted: Mapping[str, Any]) -> str:
        """Do something; see `spillway.console.server.Console`."""
        if action not in self._actions:
            raise ConsoleError(f"there is no {action}; there is {', '.join(self._actions)}")
        try:
            told = self._actions[action](wanted)
        except (CommandError, ServiceError) as error:
            raise ConsoleError(str(error)) from error
        self._seen.until_s = 0.0
        return told

    def _submit(self, wanted: Mapping[str, Any]) -> str:
        region = self._one_of(wanted, "region", self._api.urls)
        model = self._one_of(wanted, "model", self._looking.deployment.models)
        tier = self._one_of(wanted, "tier", TIERS)
        with RegionalApi(self._api.urls[region], self._api.key) as client:
            job = client.submit({"model": model, "tier": tier, "input": self._input(model)})
        return f"{job.document['id']} is accepted in {region}"

    def _burst(self, wanted: Mapping[str, Any]) -> str:
        region = self._one_of(wanted, "region", self._api.urls)
        model = self._one_of(wanted, "model", self._looking.deployment.models)
        jobs = wanted.get("jobs")
        if isinstance(jobs, bool) or not isinstance(jobs, int) or not 1 <= jobs <= JOBS_MAX:
            raise ConsoleError(f"`jobs` must be a whole number from 1 to {JOBS_MAX}")
        task = Task(told=f"to {model} in {region}", of=jobs, running=True)
        self._start("burst", task, lambda: self._send(task, region, model))
        return f"{jobs} jobs of all tiers are on their way to {region}"

    def _kill(self, wanted: Mapping[str, Any]) -> str:
        region = self._one_of(wanted, "region", self._looking.deployment.regions)
        act_on_region(self._control_url, region, "kill", {})
        return f"{region} is dead; its peers take its jobs over within a minute"

    def _restore(self, wanted: Mapping[str, Any]) -> str:
        region = self._one_of(wanted, "region", self._looking.deployment.regions)
        act_on_region(self._control_url, region, "restore", {})
        self._looking.serve_again(region)
        return f"{region} is back; its lease follows"

    def _release(self, wanted: Mapping[str, Any]) -> str:
        model = self._one_of(wanted, "model", self._looking.deployment.models)
        releases = {each["model"]: each for each in self._looked()["releases"]}
        offer = self._offer(releases.get(model, {"model": model, "live": None}))
        if offer["why_not"]:
            raise ConsoleError(offer["why_not"])
        version = str(offer["version"])
        task = Task(told=f"{model} {version}: its templates are made", running=True)
        self._start("release", task, lambda: self._try_out(task, model, version))
        return f"{version} of {model}, which fails every third job, is being released"

    # -- what goes on ------------------------------------------------------------------------

    def _start(self, name: str, task: Task, run: Callable[[], None]) -> None:
        """Let a task run in a thread, one of each kind at a time."""

        def run_to_the_end() -> None:
            try:
                run()
            finally:
                task.running = False

        with self._begin:
            if self._tasks[name].running:
                raise ConsoleError(f"a {name} goes on; wait for its end")
            self._tasks[name] = task
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=run_to_the_end, name=f"console-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _send(self, task: Task, region: str, model: str) -> None:
        """Submit a burst as an application with several regional addresses does."""
        urls = [self._api.urls[region], *(u for r, u in self._api.urls.items() if r != region)]
        tiers = itertools.cycle(BURST_TIERS)
        bodies = [(next(tiers), self._input(model)) for _ in range(task.of or 0)]
        counting = threading.Lock()

        def submit(tier: Any, body: dict[str, Any]) -> None:
            if self._over.is_set():
                return
            try:
                client.submit(model, body, tier=tier)
            except ServiceError:
                with counting:
                    task.failed += 1
            else:
                with counting:
                    task.done += 1

        with (
            Client(urls, self._api.key, retries=SENDING, sleep=self._over.wait) as client,
            ThreadPoolExecutor(SENDERS, thread_name_prefix="console-burst") as pool,
        ):
            wait([pool.submit(submit, *each) for each in bodies])

    def _try_out(self, task: Task, model: str, version: str) -> None:
        """Deploy a version that fails jobs, and send it jobs until it has been taken back."""
        try:
            self._looking.deployment = self._bad.release(model)
        except LocalError as error:
            task.told = str(error)
            return
        task.told = f"{model} {version} is deployed: the release begins within a minute"
        until_s, begun = time.monotonic() + TRIAL_S_MAX, False
        begun_until_s = time.monotonic() + RECORD_S_MAX
        while time.monotonic() < until_s and not self._over.wait(TRIAL_JOBS_EVERY_S):
            records = {each["model"]: each for each in self._looked()["releases"]}
            release = records.get(model, {})
            if version in release.get("quarantined", {}):
                task.told = f"{model} {version} was taken back: {release['quarantined'][version]}"
                return
            if release.get("live") == version:
                task.told = f"{model} {version} is live: nothing took it back"
                return
            if release.get("candidate") == version:
                begun = True
                task.told = f"{model} {version} is on trial in {release['region']}"
                self._give_job(task, model, version, release)
            elif begun or time.monotonic() > begun_until_s:
                task.told = f"{model} {version} is not released any more"
                return

    def _give_job(self, task: Task, model: str, version: str, release: Mapping[str, Any]) -> None:
        """One more job for the tier that tries a version first, where that has a share of it."""
        region, tier = str(release["region"]), LEAST_URGENT_FIRST[0]
        if not release["shares"].get(region, {}).get(tier, {}).get(version):
            return
        body = {"model": model, "tier": tier, "input": self._input(model)}
        try:
            with RegionalApi(self._api.urls[region], self._api.key) as client:
                client.submit(body)
        except ServiceError:
            task.failed += 1
        else:
            task.done += 1

    # -- what it is done with ----------------------------------------------------------------

    def _input(self, model: str) -> dict[str, Any]:
        """What a model gets: text, or for one whose service times are simulated, token counts."""
        number, configured = next(self._numbers), self._looking.deployment.models[model]
        if configured.versions[configured.wanted].local_command is not None:
            return {"input": f"{TEXT} ({number})"}
        return {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "row": number}

    def _one_of(self, wanted: Mapping[str, Any], name: str, allowed: Any) -> str:
        value = wanted.get(name)
        if not isinstance(value, str) or value not in allowed:
            raise ConsoleError(f"`{name}` must be one of {', '.join(allowed)}")
        return value
