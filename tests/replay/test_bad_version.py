"""The version that the demo has taken back."""

from collections.abc import Mapping
from pathlib import Path

from config.schema import load
from spillway.replay.bad_version import FAILS_ONE_IN, BadVersion
from spillway.twin.clock import Scheduler
from spillway.twin.containers import Answer, Simulated

CONFIG = Path(__file__).resolve().parents[2] / "config" / "demo.yaml"


def sound(scheduler: Scheduler, environment: Mapping[str, str]) -> Simulated:
    """What the version would be if it were good."""
    return Simulated(scheduler, environment, service_s=lambda _: 2.0, warm_up_s=7.0)


def test_it_answers_its_smoke_job_and_fails_some_of_the_others() -> None:
    """One that failed everything would be stopped by its smoke job, and no guard seen at work."""
    bad = BadVersion(load(CONFIG), model="chat", before="v2")
    answers: list[int] = []

    def reply(answer: Answer | None) -> None:
        assert answer is not None
        answers.append(answer.status)

    scheduler = Scheduler(virtual=True)
    try:
        container = bad.container(sound)(scheduler, {})
        for row in range(300):
            container.invoke(b'{"row": %d}' % row, {}, reply)
        container.invoke(b'{"input_tokens": 100}', {}, reply)
        scheduler.run_for(3)
    finally:
        scheduler.close()

    assert container.warm_up_s == 7.0
    assert answers[-1] == 200
    assert bad.seen.failed == answers.count(500)
    assert 0.7 < FAILS_ONE_IN * answers.count(500) / 300 < 1.3
