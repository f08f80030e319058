"""Queues: encrypted, reached only over TLS, each with dead letters of its own."""

from aws_cdk import Duration
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

KEPT_S = 7 * 86_400
DEAD_LETTERS_KEPT_S = 14 * 86_400
"""Longer than the queue's: dead letters expire counting from when they were first sent."""


def private_queue(
    scope: Construct,
    construct_id: str,
    *,
    name: str,
    key: kms.IKey | None,
    kept_s: int = KEPT_S,
    visibility_s: int | None = None,
    dead_letters: sqs.DeadLetterQueue | None = None,
) -> sqs.Queue:
    """A queue under our key, or one that SQS manages."""
    return sqs.Queue(
        scope,
        construct_id,
        queue_name=name,
        retention_period=Duration.seconds(kept_s),
        visibility_timeout=None if visibility_s is None else Duration.seconds(visibility_s),
        dead_letter_queue=dead_letters,
        encryption=sqs.QueueEncryption.KMS if key else sqs.QueueEncryption.SQS_MANAGED,
        encryption_master_key=key,
        # Every renewal is a paid call of KMS; an hour is a twelfth of what the default costs.
        data_key_reuse=Duration.hours(1) if key else None,
        enforce_ssl=True,
    )


def queue_with_dead_letters(
    scope: Construct,
    construct_id: str,
    *,
    name: str,
    dead_letters_name: str,
    key: kms.IKey | None,
    visibility_s: int,
    receives_max: int,
) -> sqs.Queue:
    """
    A queue, and where messages go that nobody could work off.

    Args:
        scope: Where the two belong.
        construct_id: The queue's id there; the dead letters' id ends in `Dead`.
        name: The queue's name.
        dead_letters_name: The name of the dead letters' queue.
        key: Encrypts both.
        visibility_s: How long a received message stays hidden, in seconds.
        receives_max: Receipts after which a message is moved.

    Returns:
        The queue.
    """
    dead = private_queue(
        scope, f"{construct_id}Dead", name=dead_letters_name, key=key, kept_s=DEAD_LETTERS_KEPT_S
    )
    return private_queue(
        scope,
        construct_id,
        name=name,
        key=key,
        visibility_s=visibility_s,
        dead_letters=sqs.DeadLetterQueue(queue=dead, max_receive_count=receives_max),
    )
