"""Whom alarms tell, and from when on they do."""

from typing import Annotated

from pydantic import Field

from config.fields import Strict, text

RUNBOOK = "docs/runbook.md"
"""Where descriptions of alarms point to, in a copy of this repository, unless the deployment says
at which address people read it: a mail at night links to nothing without one."""

Email = Annotated[str, text(r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "an e-mail address", 254)]


class WaitMultiples(Strict):
    """How many times a tier's target its oldest job may wait before somebody is told."""

    interactive: Annotated[float, Field(ge=1, le=1000)] = 6
    standard: Annotated[float, Field(ge=1, le=1000)] = 3
    batch: Annotated[float, Field(ge=1, le=1000)] = 2


class Alarms(Strict):
    """Alarms that people read: who gets them in every region, and their thresholds."""

    emails: Annotated[tuple[Email, ...], Field(max_length=20)] = ()
    runbook: Annotated[
        str | None, text(r"^https://[^\s#]+$", "an address that begins with https://", 300)
    ] = None
    wait_multiples: WaitMultiples = WaitMultiples()
    starved_below: Annotated[float, Field(gt=0, le=1)] = 0.5
    refused_keys_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    failed_webhooks_share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def link(self, section: str) -> str:
        """Where a section of the runbook is read.

        Args:
            section: The anchor of its heading.
        """
        return f"{self.runbook or RUNBOOK}#{section}"
