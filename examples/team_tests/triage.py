"""The team's own code: which desk a ticket goes to, decided by a model."""

from collections.abc import Sequence

from spillway import Client

DESKS = ("billing", "delivery", "other")


def triage(client: Client, tickets: Sequence[str]) -> list[str]:
    """The desk of each ticket; those that the model cannot sort go to `other`."""
    inputs = [{"ticket": ticket} for ticket in tickets]
    desks = []
    for job in client.run_many("triage", inputs, tier="interactive", timeout_s=300):
        desk = client.output(job).get("desk") if job.completed else None
        desks.append(desk if desk in DESKS else "other")
    return desks
