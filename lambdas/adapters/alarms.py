"""Alarms of this region, as CloudWatch knows them now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient

NAMES_MAX = 100
"""Names in one DescribeAlarms (CloudWatch API reference)."""


@dataclass(frozen=True, slots=True)
class Alarms:
    """Reads alarms."""

    client: "CloudWatchClient"

    def firing(self, names: Sequence[str]) -> set[str]:
        """Those of these alarms that are in alarm; one that does not exist is not."""
        found: set[str] = set()
        for start in range(0, len(names), NAMES_MAX):
            reply = self.client.describe_alarms(
                AlarmNames=list(names[start : start + NAMES_MAX]), MaxRecords=NAMES_MAX
            )
            found.update(
                alarm["AlarmName"]
                for alarm in reply.get("MetricAlarms", [])
                if alarm["StateValue"] == "ALARM"
            )
        return found
