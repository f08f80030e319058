"""The alarms that take a version back: new resources for every version, in each region."""

from constructs import Construct

from config.guard_alarms import guard_alarms
from config.schema import Deployment
from stacks.alarms_construct import Alarms


class Guards(Alarms):
    """One version's guards.

    They act through EventBridge, and tell the region's topic besides. A version's numbers are its
    own, so that a new one begins with a clean record.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        region: str,
        model: str,
        version: str,
    ) -> None:
        self._start = deployment.names.guard_alarm(model, version, "")
        super().__init__(
            scope,
            construct_id,
            deployment=deployment,
            region=region,
            of=guard_alarms(deployment, model, version),
        )

    def _id(self, name: str) -> str:
        return name.removeprefix(self._start)
