"""SNS subscriptions of templates; moto keeps topics and delivers what is published."""

from dataclasses import replace

from moto.sns.models import sns_backends

from spillway.twin.resources import Resource, UnsupportedError


def subscribe(resource: Resource) -> Resource:
    """Subscribe a queue to a topic.

    Raises:
        UnsupportedError: The twin does not deliver to such an endpoint.
    """
    properties = resource.properties
    if properties["Protocol"] != "sqs":
        raise UnsupportedError(f"Protocol: {properties['Protocol']} is not run, only sqs")
    subscription = sns_backends[resource.account][resource.region].subscribe(
        properties["TopicArn"], properties["Endpoint"], "sqs"
    )
    if properties.get("RawMessageDelivery"):
        # moto looks only whether something is there.
        subscription.attributes["RawMessageDelivery"] = "true"
    return replace(resource, physical_id=subscription.arn)


def publish(topic: str, message: str, *, subject: str | None = None) -> None:
    """Publish to a topic, if there is one.

    Args:
        topic: Its ARN.
        message: The text.
        subject: For subscribers that show one.
    """
    region, account = topic.split(":")[3:5]
    backend = sns_backends[account][region]
    if topic not in backend.topics:
        return
    backend.publish(message, arn=topic, subject=subject)
    # moto keeps every message for ever; a day of traffic would fill the memory.
    backend.topics[topic].sent_notifications.clear()
