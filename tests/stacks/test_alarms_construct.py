"""Alarms that people read, and how they are told."""

from collections.abc import Callable
from typing import Any

import pytest

from config.alarms import WaitMultiples
from config.schema import TIERS
from lambdas.domain.moves import WHYS
from tests.stacks.assemblies import Assembly, Resource, Synthesize, changed_dev

HERE = "Region-us-east-1"
CHAT = "Model-chat-us-east-1"


def alarms(assembly: Assembly, stack: str) -> dict[str, dict[str, Any]]:
    """A stack's alarms for people, by what they tell of."""
    start = assembly.deployment.names.alarm("")
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    return {
        resource.properties["AlarmName"].removeprefix(start): resource.properties
        for kind in kinds
        for resource in assembly.resources(kind, stack=stack)
        if resource.properties["AlarmName"].startswith(start)
    }


def topic(assembly: Assembly) -> Resource:
    """The topic of the first region's alarms."""
    name = assembly.deployment.names.alarms_topic
    return assembly.one("AWS::SNS::Topic", stack=HERE, TopicName=name)


def test_every_dead_letter_queue_has_an_alarm(dev: Assembly) -> None:
    """Messages that nobody looks at are gone after two weeks."""
    for stack in (HERE, CHAT):
        watched = {
            alarm["Dimensions"][0]["Value"]
            for alarm in alarms(dev, stack).values()
            if alarm.get("Namespace") == "AWS/SQS"
        }
        dead = {
            queue.properties["QueueName"]
            for queue in dev.resources("AWS::SQS::Queue", stack=stack)
            if queue.properties["QueueName"].endswith("-dead")
        }
        assert watched == dead != set()


def test_a_wait_rings_when_new_instances_should_have_come(dev: Assembly) -> None:
    """A burst that scaling handles wakes nobody."""
    ringing = alarms(dev, CHAT)["wait-chat-interactive"]

    assert ringing["EvaluationPeriods"] * ringing["Period"] > 258
    assert ringing["DatapointsToAlarm"] == ringing["EvaluationPeriods"]
    assert ringing["Threshold"] == 6 * 5
    assert {tier for tier in TIERS if f"wait-chat-{tier}" in alarms(dev, CHAT)} == set(TIERS)
    assert set(WaitMultiples.model_fields) == set(TIERS)


def test_one_message_tells_of_all_waits_and_none_while_a_region_is_evacuated(
    dev: Assembly,
) -> None:
    """Three tiers, two models and two survivors would ring a dozen times for one lost region."""
    together = alarms(dev, CHAT)["waits-chat"]

    ours = dev.deployment.names.alarm
    children = [ours(f"wait-chat-{tier}") for tier in TIERS]
    rung = " OR ".join(f'ALARM("{name}")' for name in children)
    explained = [ours(f"moves-{why}") for why in ("evacuate", "drain")]
    assert together["AlarmRule"] == f"({rung})" + "".join(
        f' AND NOT ALARM("{name}")' for name in explained
    )
    assert {f"moves-{why}" for why in WHYS.values()} <= set(alarms(dev, HERE))
    for tier in TIERS:
        assert alarms(dev, CHAT)[f"wait-chat-{tier}"]["AlarmActions"] == []
    resources = dev.templates[CHAT]["Resources"]
    (made,) = (r for r in resources.values() if r["Type"] == "AWS::CloudWatch::CompositeAlarm")
    needed = {resources[name]["Properties"]["AlarmName"] for name in made["DependsOn"]}
    assert needed == set(children)


def test_silence_rings_only_where_it_is_the_trouble(dev: Assembly) -> None:
    """Every other alarm takes silence for peace, so some must listen for it."""
    missing = {
        name: alarm["TreatMissingData"]
        for stack in (HERE, CHAT)
        for name, alarm in alarms(dev, stack).items()
        if "TreatMissingData" in alarm
    }

    heard = {name for name, how in missing.items() if how != "notBreaching"}
    assert heard == {"not-ready", "releases-undecided", "batches-stand-still"}
    assert {missing[name] for name in heard} == {"breaching"}


def test_an_alarm_tells_its_region_when_it_rings_and_when_it_is_over(dev: Assembly) -> None:
    """Whoever was woken wants to hear that it is over, too."""
    told = ["arn:aws:sns:us-east-1:123456789012:spillway-dev-alarms"]
    loud = [
        alarm
        for stack in (HERE, CHAT)
        for alarm in alarms(dev, stack).values()
        if alarm["AlarmActions"]
    ]

    assert len(loud) > 5
    for alarm in loud:
        assert alarm["AlarmActions"] == alarm["OKActions"] == told


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_what_alarms_tell_is_encrypted_with_a_key_that_cloudwatch_may_use(
    assembly: Callable[[str], Assembly], name: str
) -> None:
    """CloudWatch drops a message without a word when it may not use the topic's key."""
    of = assembly(name)
    key = topic(of).properties["KmsMasterKeyId"]["Fn::GetAtt"][0]
    policies = [of.templates[HERE]["Resources"][key]["Properties"]["KeyPolicy"]]
    policies += [
        policy.properties["PolicyDocument"]
        for policy in of.resources("AWS::SNS::TopicPolicy", stack=HERE)
        if policy.properties["Topics"] == [{"Ref": topic(of).logical_id}]
    ]

    granted = [
        statement
        for policy in policies
        for statement in policy["Statement"]
        if statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    ]
    assert [statement["Action"] for statement in granted] == [
        ["kms:Decrypt", "kms:GenerateDataKey"],
        "sns:Publish",
    ]
    ours = f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{of.deployment.name}-*"
    for statement in granted:
        assert statement["Condition"]["ArnLike"] == {"aws:SourceArn": ours}


def test_people_are_told_by_mail(synthesize: Synthesize, tmp_path: Any) -> None:
    """An alarm that nobody subscribed to rings in an empty room."""

    def change(document: dict[str, Any]) -> None:
        document["alarms"] = {
            "emails": ["night@example.com", "day@example.com"],
            "runbook": "https://wiki.example.com/runbook",
        }

    changed = synthesize(changed_dev(tmp_path, change))

    subscribed = [
        (each.properties["Protocol"], each.properties["Endpoint"], each.properties["TopicArn"])
        for each in changed.resources("AWS::SNS::Subscription", stack=HERE)
        if each.properties["Protocol"] == "email"
    ]
    to = {"Ref": topic(changed).logical_id}
    assert subscribed == [("email", "night@example.com", to), ("email", "day@example.com", to)]
    dead = alarms(changed, HERE)["dead-letters-results"]
    assert dead["AlarmDescription"].endswith("https://wiki.example.com/runbook#dead-letters")
