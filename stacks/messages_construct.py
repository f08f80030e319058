"""The queues and topics of a region that do not belong to one model."""

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from config.schema import Deployment
from stacks.acknowledgement import acknowledge

DEAD_LETTERS_KEPT = Duration.days(14)
KEPT = Duration.days(7)


def queue_encryption(key: kms.IKey | None) -> dict[str, object]:
    """The encryption arguments of a queue: our key, or one that SQS manages."""
    if key is None:
        return {"encryption": sqs.QueueEncryption.SQS_MANAGED}
    return {
        "encryption": sqs.QueueEncryption.KMS,
        "encryption_master_key": key,
        # Every renewal is a paid call of KMS; an hour is a twelfth of what the default costs.
        "data_key_reuse": Duration.hours(1),
    }


class Messages(Construct):
    """Results, webhooks and beats, with the topics on which SageMaker announces results."""

    def __init__(
        self, scope: Construct, construct_id: str, *, deployment: Deployment, key: kms.IKey | None
    ) -> None:
        super().__init__(scope, construct_id)
        names = deployment.names
        self._key = key
        # A result stays long enough for an outage of the ledger: 50 receipts are 2.5 hours.
        self.results = self._queue(
            "Results",
            name=names.results,
            dead_name=names.results_dead_letters,
            visibility_s=180,
            receives_max=50,
        )
        # notify lengthens the visibility itself; the receipts only bound its patience.
        self.webhooks = self._queue(
            "Webhooks",
            name=names.webhooks,
            dead_name=names.webhooks_dead_letters,
            visibility_s=180,
            receives_max=20,
        )
        self.beats = sqs.Queue(
            self,
            "Beats",
            queue_name=names.beats,
            visibility_timeout=Duration.seconds(120),
            retention_period=Duration.minutes(2),
            enforce_ssl=True,
            **queue_encryption(key),
        )
        acknowledge(
            self.beats,
            "AwsSolutions-SQS3",
            "A late beat is worthless: the next one is five seconds away.",
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

    def _queue(
        self, construct_id: str, *, name: str, dead_name: str, visibility_s: int, receives_max: int
    ) -> sqs.Queue:
        """A queue and its dead letters; visibility is six times the function's timeout."""
        dead = sqs.Queue(
            self,
            f"{construct_id}Dead",
            queue_name=dead_name,
            retention_period=DEAD_LETTERS_KEPT,
            enforce_ssl=True,
            **queue_encryption(self._key),
        )
        return sqs.Queue(
            self,
            construct_id,
            queue_name=name,
            visibility_timeout=Duration.seconds(visibility_s),
            retention_period=KEPT,
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=receives_max),
            enforce_ssl=True,
            **queue_encryption(self._key),
        )
