"""The queues and topics of a region that do not belong to one model."""

from collections.abc import Mapping

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from config.schema import Deployment
from stacks.acknowledgement import acknowledge
from stacks.queues import private_queue, queue_with_dead_letters

BEATS_KEPT_S = 120
"""A beat waits 55 s at most; one that is older beats no more."""

REPORTS_KEPT_S = 86_400


class Messages(Construct):
    """Results, webhooks, deliveries, beats; the topics on which SageMaker announces results.

    A message stays hidden for six timeouts of its function, so that a repeat never overlaps an
    execution that still runs (Lambda developer guide, SQS event sources).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        key: kms.IKey | None,
        timeouts_s: Mapping[str, int],
    ) -> None:
        super().__init__(scope, construct_id)
        names = deployment.names
        self._key = key
        # A result outlasts an outage of the ledger: 50 receipts are two and a half hours.
        self.results = queue_with_dead_letters(
            self,
            "Results",
            name=names.results,
            dead_letters_name=names.results_dead_letters,
            key=key,
            visibility_s=6 * timeouts_s["complete"],
            receives_max=50,
        )
        # notify hides a failed delivery for longer itself; receipts only bound its patience.
        self.webhooks = queue_with_dead_letters(
            self,
            "Webhooks",
            name=names.webhooks,
            dead_letters_name=names.webhooks_dead_letters,
            key=key,
            visibility_s=6 * timeouts_s["notify"],
            receives_max=20,
        )
        self.deliveries = private_queue(
            self,
            "Deliveries",
            name=names.deliveries,
            key=key,
            visibility_s=6 * timeouts_s["record"],
            kept_s=REPORTS_KEPT_S,
        )
        acknowledge(
            self.deliveries,
            {"AwsSolutions-SQS3": "What is not written in a day is a line less in a job's log."},
        )
        self.beats = private_queue(
            self,
            "Beats",
            name=names.beats,
            key=key,
            visibility_s=6 * timeouts_s["beat"],
            kept_s=BEATS_KEPT_S,
        )
        acknowledge(
            self.beats,
            {"AwsSolutions-SQS3": "A late beat is worthless: the next is five seconds away."},
        )
        self._topic("Succeeded", names.succeeded_topic)
        self._topic("Failed", names.failed_topic)

    def _topic(self, construct_id: str, name: str) -> None:
        """A topic whose messages go to the results queue as they are."""
        key = self._key or kms.Alias.from_alias_name(self, f"{construct_id}Key", "alias/aws/sns")
        topic = sns.Topic(self, construct_id, topic_name=name, enforce_ssl=True, master_key=key)
        sns.Subscription(
            self,
            f"{construct_id}Results",
            topic=topic,
            protocol=sns.SubscriptionProtocol.SQS,
            endpoint=self.results.queue_arn,
            raw_message_delivery=True,
        )
        self.results.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("sns.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[self.results.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": topic.topic_arn}},
            )
        )
