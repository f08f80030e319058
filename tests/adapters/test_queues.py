"""The tier queues."""

from typing import Any

import boto3
import pytest
from moto import mock_aws

from lambdas.adapters.queues import DELETE_TRIES_MAX, Queues
from lambdas.domain.names import Names

NAMES = Names("t", "123456789012")
REGION = "us-east-1"


@pytest.mark.parametrize(
    ("failures", "sender_fault", "tries"),
    [(0, False, 1), (1, False, 2), (99, False, DELETE_TRIES_MAX), (99, True, 1)],
)
def test_messages_that_were_not_deleted_are_deleted_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, sender_fault: bool, tries: int
) -> None:
    """One that stays has its job handed over again while the model is still at work on it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client: Any = boto3.client("sqs", region_name=REGION)
        client.create_queue(QueueName=NAMES.tier_queue("m", "batch"))
        queues = Queues(client, NAMES, REGION)
        queues.send_many("m", "batch", [(f"job_{'a' * 25}{n}", 1, "acme") for n in "bcd"])
        tickets = queues.receive("m", "batch", at_most=3)
        delete, made = client.delete_message_batch, []

        def partly(**params: Any) -> Any:
            """Leave the first of them while it fails."""
            made.append(len(params["Entries"]))
            if len(made) > failures:
                return delete(**params)
            first, *others = params["Entries"]
            failed = {"Id": first["Id"], "SenderFault": sender_fault, "Code": "InternalError"}
            done = delete(**{**params, "Entries": others}) if others else {}
            return {**done, "Failed": [failed]}

        monkeypatch.setattr(client, "delete_message_batch", partly)
        queues.delete("m", "batch", tickets)

        assert made == [3, *(tries - 1) * [1]]
