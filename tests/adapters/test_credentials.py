"""Refusals for want of a right are told, whoever handles them."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lambdas.adapters.credentials import Refusals
from lambdas.adapters.metrics import Metrics
from lambdas.domain.failures import for_want_of_a_right


@pytest.mark.parametrize(
    ("text", "about_rights"),
    [
        ("AccessDenied", True),
        ("AccessDeniedException", True),
        ("KMS.DisabledException", True),
        ("UnrecognizedClientException", True),
        ("ClientError: An error occurred (Access Denied) when calling GetObject", True),
        ("ConditionalCheckFailedException", False),
        ("ThrottlingException", False),
        ("The model failed: permission model of 3 layers", False),
    ],
)
def test_rights_are_told_from_other_reasons(text: str, *, about_rights: bool) -> None:
    """A throttle that is called a lost right sends people to the wrong place."""
    assert for_want_of_a_right(text) is about_rights


def test_a_refused_call_is_told_with_its_operation_and_nothing_of_its_content(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A role that lost a right shows first in errors that functions swallow and try again."""
    make: Any = boto3.Session().client
    client = make("sqs", region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t")
    Refusals(Metrics("Spillway/x"), "us-east-1").watch(client)
    answers = iter([("AccessDenied", 403), ("QueueDoesNotExist", 400)])

    def refuse(**_: Any) -> Any:
        code, status = next(answers)
        reply = {"Error": {"Code": code, "Message": "private"}}
        return type("Reply", (), {"status_code": status})(), reply

    client.meta.events.register("before-call", refuse)
    for _ in range(2):
        with pytest.raises(ClientError):
            client.send_message(QueueUrl="https://private", MessageBody="private")

    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["CredentialsRefused"] for line in lines if "_aws" in line] == [[1.0]]
    (said,) = (line for line in lines if "_aws" not in line)
    assert said["message"] == "credentials refused"
    assert (said["service"], said["operation"]) == ("sqs", "SendMessage")
    assert "private" not in printed
