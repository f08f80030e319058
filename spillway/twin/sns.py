"""SNS subscriptions of templates; moto keeps topics and delivers what is published."""

from dataclasses import replace

from moto.sns.models import sns_backends

from spillway.twin.resources import Resource, UnsupportedError


def subscribe(resource: Resource) -> Resource:
    """Subscribe a queue to a topic; mail is kept as a subscription that nobody has confirmed.

    Raises:
        UnsupportedError: The twin does not deliver to such an endpoint.
    """
    properties = resource.properties
    protocol = properties["Protocol"]
    if protocol not in ("sqs", "email"):
        raise UnsupportedError(f"Protocol: {protocol} is not run, only sqs and, in silence, email")
    subscription = sns_backends[resource.account][resource.region].subscribe(
        properties["TopicArn"], properties["Endpoint"], protocol
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
