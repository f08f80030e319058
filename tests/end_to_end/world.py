"""A deployment that runs for a whole module of tests.

Each test has tenants or keys of its own, and leaves the deployment as idle as it found it.
"""

import json
import random
import secrets
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from lambdas.domain.keys import key_hash
from spillway import local
from spillway.directory import add_tenant
from spillway.testing import REPLICATED_S, Stacks

RECOVERY_S = 900.0
"""Redelivery after 120 s, a lease of 180 s, slots repaired after 120 s, each found within a
minute by sweep, three attempts: well over the longest way back."""
FIRST_BEAT_S = 70.0
AUTHORIZED_S_MAX = 60.0
TIERS = ("interactive", "standard", "batch")
WEBHOOK_SECRET = "whsec_" + "A" * 42 + "E="


def noise(letters: int) -> str:
    """Text that no compression makes much shorter, the same at every call."""
    return random.Random(letters).randbytes(letters // 2).hex()  # noqa: S311 no secret


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant with a key, as a client of the API."""

    world: "World"
    id: str
    api_key: str

    def client(self, region: str | None = None) -> httpx.Client:
        """An HTTP client that is signed in."""
        return self.world.http_client(region, api_key=self.api_key)

    def post(
        self,
        body: Any = None,
        *,
        key: str | None = None,
        region: str | None = None,
        query: str = "",
        **headers: str,
    ) -> httpx.Response:
        """Submit a job once, whatever the answer."""
        sent = dict(headers) | ({"Idempotency-Key": key} if key else {})
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        sent.setdefault("Content-Type", "application/json")
        return self.client(region).post(f"/v1/jobs{query}", content=content, headers=sent)

    def submit(self, *, key: str | None = None, region: str | None = None, **fields: Any) -> str:
        """Submit a job as a careful client does, again with its key while the answer is 5xx.

        Returns:
            The job's id.
        """
        body = {"model": "small", "tier": "interactive", "input": {"text": "hello"}} | fields
        key = key or secrets.token_hex(8)
        answer = self.post(body, key=key, region=region)
        for _ in range(3):
            if answer.status_code < 500:
                break
            answer = self.post(body, key=key, region=region)
        assert answer.status_code in {200, 202}, answer.text
        return str(answer.json()["id"])

    def revoke(self) -> None:
        """Take the key back, and wait until API Gateway has forgotten it, which takes a minute."""
        directory = local.directory(self.world.twin, self.world.deployment)
        directory.revoke(key_hash(self.api_key))
        self.world.run_for(AUTHORIZED_S_MAX + REPLICATED_S)

    def view(self, job: str, *, region: str | None = None) -> dict[str, Any]:
        """The job as the API shows it."""
        answer = self.client(region).get(f"/v1/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


class World(Stacks):
    """The deployment of a module."""

    def __init__(self, twin: Any, deployment: Any) -> None:
        self._numbers = count(1)
        self.delivered: list[tuple[str, bytes]] = []
        super().__init__(twin, deployment)
        self.run_for(FIRST_BEAT_S)

    @property
    def names(self) -> Any:
        """The deployment's names."""
        return self.deployment.names

    @property
    def region(self) -> str:
        """The primary region."""
        return str(self.deployment.primary_region)

    def tenant(self, *, webhooks: bool = False, **limits: Any) -> Tenant:
        """A tenant that nobody has used before, known in every region."""
        name = f"tenant-{next(self._numbers)}"
        directory = local.directory(self.twin, self.deployment)
        key = add_tenant(directory, name, **limits)
        if webhooks:
            directory.signings.put(name, WEBHOOK_SECRET)
        self.run_for(REPLICATED_S)
        return Tenant(world=self, id=name, api_key=key)

    def aws(self, service: str, region: str | None = None) -> Any:
        """An operator's client."""
        return self.twin.operator(region or self.region).client(service)

    def slots(self, model: str = "small", region: str | None = None) -> set[str]:
        """Tokens of the slots in use."""
        return set(self.gate(model, region).get("used", {}).get("SS", ()))

    def gate(self, model: str = "small", region: str | None = None) -> dict[str, Any]:
        """The gate's item of a model."""
        reply = self.aws("dynamodb", region).get_item(
            TableName=self.names.gate, Key={"pk": {"S": f"model#{model}"}}, ConsistentRead=True
        )
        return dict(reply.get("Item", {}))

    def forget_outcomes(self, model: str, region: str) -> None:
        """Close a model's breaker: what one test failed is no history of the next one."""
        self.aws("dynamodb", region).update_item(
            TableName=self.names.gate,
            Key={"pk": {"S": f"model#{model}"}},
            UpdateExpression="REMOVE ok, bad, open_ms",
        )

    def ledger_item(self, job: str, region: str | None = None) -> dict[str, Any]:
        """The job's item."""
        reply = self.aws("dynamodb", region).get_item(
            TableName=self.names.ledger, Key={"pk": {"S": f"job#{job}"}}, ConsistentRead=True
        )
        return dict(reply.get("Item", {}))

    def queue_url(self, tier: str = "interactive", *, dead: bool = False) -> str:
        """The address of a tier queue of the model `small`, or of its dead letters."""
        name = self.names.tier_dead_letters if dead else self.names.tier_queue
        return str(self.names.queue_url(self.region, name("small", tier)))

    def put_message(self, body: Any, *, tier: str = "interactive", dead: bool = False) -> None:
        """Put a message into a tier queue by hand."""
        self.aws("sqs").send_message(
            QueueUrl=self.queue_url(tier, dead=dead),
            MessageBody=body if isinstance(body, str) else json.dumps(body),
            MessageGroupId="somebody",
        )

    def messages(self) -> Counter[str]:
        """Messages in every queue but beat's, by queue, visible or not; what is empty is absent."""
        names, found = self.names, Counter[str]()
        queues = [names.results, names.webhooks, names.deliveries]
        queues += [names.results_dead_letters, names.webhooks_dead_letters]
        for model in self.deployment.models:
            for tier in TIERS:
                queues += [names.tier_queue(model, tier), names.tier_dead_letters(model, tier)]
        for region in self.deployment.regions:
            for name in queues:
                queue = self.twin.sqs.queue(f"arn:aws:sqs:{region}:{self.twin.account}:{name}")
                held = int(
                    queue.approximate_number_of_messages
                    + queue.approximate_number_of_messages_delayed
                    + queue.approximate_number_of_messages_not_visible
                )
                if held:
                    found[f"{region} {name}"] = held
        return found

    def left(self) -> dict[str, Any]:
        """Everything that is not at rest; empty when nothing is left of any job."""
        running = local.work_left(self.twin, self.deployment).running
        slots = {
            f"{region} {model}": sorted(used)
            for region in self.deployment.regions
            for model in self.deployment.models
            if (used := self.slots(model, region))
        }
        everything = {
            "messages": self.messages(),
            "slots": slots,
            "running": running,
            "unfinished": local.unfinished(self.twin, self.deployment),
        }
        return {name: value for name, value in everything.items() if value}

    def assert_rest(self, limit_s: float = RECOVERY_S) -> None:
        """Let time pass until nothing is left: no message, no slot, no unfinished job."""
        if not self.twin.scheduler.run_until_true(self._at_rest, limit_s, every_s=5):
            raise AssertionError(f"left after {limit_s:g} s: {self.left()}")

    def _at_rest(self) -> bool:
        """What costs nothing to look at is looked at first."""
        work = local.work_left(self.twin, self.deployment)
        return work.none and not self.left()

    def until(self, predicate: Any, limit_s: float = RECOVERY_S, *, every_s: float = 1.0) -> None:
        """Let time pass until something holds.

        Raises:
            AssertionError: It never does.
        """
        assert self.twin.scheduler.run_until_true(predicate, limit_s, every_s=every_s)

    def reset(self) -> None:
        """Undo what tests do to the world, and let it come to rest for the next one."""
        self.twin.hook.rules.clear()
        self.twin.sqs.duplicates = 0.0
        for model in self.deployment.models:
            self.model(model).answers(lambda request: {"echo": request})
        self.assert_rest()
        for region in self.deployment.regions:
            for model in self.deployment.models:
                self.forget_outcomes(model, region)
        self.delivered.clear()

    def log_lines(self, since: int) -> list[dict[str, Any]]:
        """What functions logged since `log_mark`, as documents; other output as `text`."""
        lines = []
        for line in list(self.twin.functions.logs)[since:]:
            try:
                document = json.loads(line.text)
            except ValueError:
                document = {"text": line.text}
            lines.append(document | {"function": line.function})
        return lines

    def log_mark(self) -> int:
        """How many lines were logged so far."""
        return len(self.twin.functions.logs)


@dataclass
class Script:
    """A model whose answers are scripted by the request's `name`, and that counts its runs."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)

    def __call__(self, request: Any) -> Any:
        """Answer the next of what the script has for the request; the last one for ever."""
        name = str(request["name"])
        script = self.answers.get(name) or [{"answer": name}]
        answer = script[min(self.runs[name], len(script) - 1)]
        self.runs[name] += 1
        if isinstance(answer, Exception):
            raise answer
        return answer
