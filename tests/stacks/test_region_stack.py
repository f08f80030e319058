"""What a region consists of, beside its models."""

import json
from typing import Any

import pytest

from spillway.twin.events import matches
from tests.stacks.assemblies import Assembly, Resource

HERE = "Region-us-east-1"
SETTINGS = {
    # function: memory in MB, timeout in seconds, reserved concurrency
    "authorize": (256, 5, None),
    "submit": (512, 29, None),
    "wait": (128, 29, 20),
    "linger": (128, 29, 30),
    "dispatch": (256, 60, 10),
    "complete": (256, 30, 10),
    "notify": (256, 30, None),
    "record": (128, 30, None),
    "beat": (256, 20, 3),
    "sweep": (256, 58, 10),
    "batches": (1769, 300, 1),
    "release": (256, 30, 2),
}


def function(assembly: Assembly, name: str) -> Resource:
    """A function of the first region."""
    return assembly.one(
        "AWS::Lambda::Function",
        stack=HERE,
        FunctionName=assembly.deployment.names.function(name),
    )


def queue(assembly: Assembly, name: str) -> Resource:
    """A queue, by its name without the deployment's."""
    return assembly.one(
        "AWS::SQS::Queue", stack=HERE, QueueName=f"{assembly.deployment.name}-{name}"
    )


def feeds(assembly: Assembly, name: str) -> dict[str, Any]:
    """The event source mapping of a function."""
    target = {"Ref": function(assembly, name).logical_id}
    return assembly.one(
        "AWS::Lambda::EventSourceMapping", stack=HERE, FunctionName=target
    ).properties


@pytest.mark.parametrize("name", SETTINGS)
def test_a_function_has_the_room_that_its_work_needs(dev: Assembly, name: str) -> None:
    """Too little memory or time fails jobs; too little concurrency delays everybody's."""
    properties = function(dev, name).properties
    memory_mb, timeout_s, reserved = SETTINGS[name]

    assert properties["MemorySize"] == memory_mb
    assert properties["Timeout"] == timeout_s
    assert properties.get("ReservedConcurrentExecutions") == reserved
    assert properties["Architectures"] == ["arm64"]
    assert properties["Handler"] == f"lambdas.handlers.{name}.handle"
    assert properties["Environment"]["Variables"] == {
        "SPILLWAY_FUNCTION": name,
        "POWERTOOLS_SERVICE_NAME": "spillway",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }


def test_submit_outlives_the_longest_wait(dev: Assembly) -> None:
    """A client that waits gets its answer, not the end of the function that asked for it."""
    longest = dev.deployment.limits.wait_s_max

    assert longest < function(dev, "submit").properties["Timeout"]
    for name in ("wait", "linger"):
        assert longest < function(dev, name).properties["Timeout"] <= 29


@pytest.mark.parametrize("name", SETTINGS)
def test_a_functions_log_is_kept_for_as_long_as_configured(
    prod: Assembly, dev: Assembly, name: str
) -> None:
    """A log group that Lambda makes itself is kept, and paid for, for ever."""
    for assembly, days in ((dev, 7), (prod, 90)):
        log = function(assembly, name).properties["LoggingConfig"]["LogGroup"]["Ref"]
        group = assembly.templates[HERE]["Resources"][log]["Properties"]
        assert group["RetentionInDays"] == days
        assert group["LogGroupName"] == f"/aws/lambda/{assembly.deployment.name}-{name}"


def test_lambdas_own_lines_are_not_paid_for(dev: Assembly) -> None:
    """START, END and REPORT would be most of the bytes of a job's log."""
    for resource in dev.resources("AWS::Lambda::Function", stack=HERE):
        logging = resource.properties["LoggingConfig"]
        assert logging["LogFormat"] == "JSON"
        assert logging["SystemLogLevel"] == "WARN"
        assert logging["ApplicationLogLevel"] == "INFO"


@pytest.mark.parametrize("name", ["dispatch", "beat", "sweep", "release"])
def test_a_late_tick_or_bell_is_dropped(dev: Assembly, name: str) -> None:
    """Lambda would keep a throttled one for six hours, and work them all off after an outage."""
    target = {"Ref": function(dev, name).logical_id}
    invocation = dev.one(
        "AWS::Lambda::EventInvokeConfig", stack=HERE, FunctionName=target
    ).properties

    assert invocation["MaximumEventAgeInSeconds"] == 60
    assert invocation["MaximumRetryAttempts"] == 0


def test_a_long_backlog_is_worked_off_to_its_end(dev: Assembly) -> None:
    """Lambda stops a function that calls itself the 16th time, unless it is allowed."""
    allowed = {
        resource.properties["Handler"]
        for resource in dev.resources("AWS::Lambda::Function", stack=HERE)
        if resource.properties.get("RecursiveLoop") == "Allow"
    }

    assert allowed == {"lambdas.handlers.dispatch.handle"}


@pytest.mark.parametrize(
    ("name", "source", "batch", "most"),
    [
        ("complete", "results", 10, 10),
        ("notify", "webhooks", 1, 20),
        ("record", "deliveries", 10, 5),
        ("beat", "beats", 1, 2),
    ],
)
def test_a_queue_feeds_its_function(
    dev: Assembly, name: str, source: str, batch: int, most: int
) -> None:
    """Results, webhooks and beats arrive; one bad message does not repeat its whole batch."""
    mapping = feeds(dev, name)

    assert mapping["EventSourceArn"] == {"Fn::GetAtt": [queue(dev, source).logical_id, "Arn"]}
    assert mapping["BatchSize"] == batch
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": most}
    here = function(dev, name)
    target = {"Fn::GetAtt": [here.logical_id, "Arn"]}
    others = [
        rule
        for rule in dev.resources("AWS::Events::Rule", stack=HERE)
        if rule.properties["Targets"][0]["Arn"] == target
    ]
    reserved = here.properties.get("ReservedConcurrentExecutions", most)
    # Above what is reserved and left by its other callers, throttled messages count as received.
    assert most + len(others) <= reserved


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("complete", "results"),
        ("notify", "webhooks"),
        ("record", "deliveries"),
        ("beat", "beats"),
    ],
)
def test_a_repeat_never_overlaps_a_running_attempt(dev: Assembly, name: str, source: str) -> None:
    """A message stays hidden for six timeouts, as Lambda's guide asks, or is handled twice."""
    hidden_s = queue(dev, source).properties["VisibilityTimeout"]

    assert hidden_s == 6 * function(dev, name).properties["Timeout"]


@pytest.mark.parametrize("name", ["results", "webhooks"])
def test_what_cannot_be_worked_off_is_kept_apart(dev: Assembly, name: str) -> None:
    """Dead letters expire by when they were first sent: they need the longer retention."""
    redrive = queue(dev, name).properties["RedrivePolicy"]
    dead = queue(dev, f"{name}-dead")

    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [dead.logical_id, "Arn"]}
    assert redrive["maxReceiveCount"] >= 20
    assert queue(dev, name).properties["MessageRetentionPeriod"] == 7 * 86_400
    assert dead.properties["MessageRetentionPeriod"] == 14 * 86_400


def test_release_hears_of_its_own_guard_alarms_only(dev: Assembly) -> None:
    """A neighbour's alarms, or those that scale, would have it look at everything all the time."""
    (rule,) = (
        rule.properties
        for rule in dev.resources("AWS::Events::Rule", stack=HERE)
        if "EventPattern" in rule.properties
    )
    release = function(dev, "release").logical_id
    assert [target["Arn"] for target in rule["Targets"]] == [{"Fn::GetAtt": [release, "Arn"]}]

    def heard(name: str, state: str) -> bool:
        detail = {"alarmName": name, "state": {"value": state}}
        event = {"source": "aws.cloudwatch", "detail-type": "CloudWatch Alarm State Change"}
        return matches(rule["EventPattern"], event | {"detail": detail})

    names = dev.deployment.names
    guard = names.guard_alarm("embedder", "v1", "failures")
    assert heard(guard, "ALARM")
    assert not heard(guard, "OK")
    assert not heard(names.alarm("wait-embedder-batch"), "ALARM")
    assert not heard(f"another-{guard}", "ALARM")


@pytest.mark.parametrize("name", ["beat", "sweep", "release"])
def test_the_minute_ticks(dev: Assembly, name: str) -> None:
    """Without a tick nobody renews the lease or finds what was left behind."""
    target = {"Fn::GetAtt": [function(dev, name).logical_id, "Arn"]}
    rules = [
        rule.properties
        for rule in dev.resources("AWS::Events::Rule", stack=HERE)
        if rule.properties["Targets"][0]["Arn"] == target
        and "ScheduleExpression" in rule.properties
    ]

    assert [rule["ScheduleExpression"] for rule in rules] == ["rate(1 minute)"]
    assert rules[0]["Targets"][0]["RetryPolicy"] == {
        "MaximumEventAgeInSeconds": 60,
        "MaximumRetryAttempts": 0,
    }


@pytest.mark.parametrize("name", ["succeeded", "failed"])
def test_sagemakers_word_reaches_complete(dev: Assembly, prod: Assembly, name: str) -> None:
    """A result that nobody announces waits for its lease to end."""
    for assembly in (dev, prod):
        topic = assembly.one(
            "AWS::SNS::Topic", stack=HERE, TopicName=f"{assembly.deployment.name}-{name}"
        )
        results = queue(assembly, "results")
        subscription = assembly.one(
            "AWS::SNS::Subscription", stack=HERE, TopicArn={"Ref": topic.logical_id}
        ).properties
        assert subscription["Protocol"] == "sqs"
        assert subscription["RawMessageDelivery"] is True
        assert subscription["Endpoint"] == {"Fn::GetAtt": [results.logical_id, "Arn"]}
        policy = assembly.one(
            "AWS::SQS::QueuePolicy", stack=HERE, Queues=[{"Ref": results.logical_id}]
        ).properties
        senders = [
            statement["Condition"]["ArnEquals"]["aws:SourceArn"]
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Action"] == "sqs:SendMessage"
        ]
        assert {"Ref": topic.logical_id} in senders


def payloads(assembly: Assembly) -> dict[str, Any]:
    """The payload bucket of the first region."""
    return assembly.one("AWS::S3::Bucket", stack=HERE).properties


def test_uploads_are_copied_to_every_other_region(dev: Assembly, prod: Assembly) -> None:
    """A job may be moved anywhere, and a gigabyte cannot be brought while its slot waits."""
    for assembly in (dev, prod):
        names = assembly.deployment.names
        found = payloads(assembly)["ReplicationConfiguration"]["Rules"]
        # Of the files that batches make one copy is enough.
        assert {rule["Filter"]["Prefix"] for rule in found} == {"uploads/", "outputs/"}
        rules = [rule for rule in found if rule["Filter"]["Prefix"] == "uploads/"]
        (made,) = (rule for rule in found if rule["Filter"]["Prefix"] == "outputs/")
        assert made["Destination"]["Bucket"].endswith("us-east-2-replica")
        others = [region for region in assembly.deployment.regions if region != "us-east-1"]
        assert [rule["Destination"]["Bucket"] for rule in rules] == [
            f"arn:aws:s3:::{names.replica_bucket(region)}" for region in others
        ]
        # Of rules to several buckets S3 wants different priorities.
        assert len({rule["Priority"] for rule in found}) == len(found)
        for rule in rules:
            assert rule["DeleteMarkerReplication"] == {"Status": "Enabled"}
        for region in others:
            replica = assembly.one("AWS::S3::Bucket", stack=f"Replica-{region}").properties
            assert replica["BucketName"] == names.replica_bucket(region)
            # S3 replicates only between buckets that keep versions.
            assert replica["VersioningConfiguration"] == {"Status": "Enabled"}
        assert payloads(assembly)["VersioningConfiguration"] == {"Status": "Enabled"}


def test_nothing_is_kept_longer_than_promised(dev: Assembly) -> None:
    """Payloads are people's texts: they go even when sweep fails, and erased ones in a day."""
    limits = dev.deployment.limits
    for bucket in dev.resources("AWS::S3::Bucket"):
        rule, of_uploads = bucket.properties["LifecycleConfiguration"]["Rules"]
        assert rule["ExpirationInDays"] * 86_400 >= limits.deadline_s_max + limits.retention_s
        assert rule["ExpirationInDays"] <= 15
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
        assert "Prefix" not in rule
        # An upload is made a job within a day, which starts by its deadline and runs for hours.
        assert of_uploads["Prefix"] == "uploads/"
        life_s = of_uploads["ExpirationInDays"] * 86_400
        longest_s = max(
            model.request_ttl_s + model.invocation_timeout_s
            for model in dev.deployment.models.values()
        )
        assert life_s >= 86_400 + limits.deadline_s_max + longest_s
        assert of_uploads["ExpirationInDays"] <= 8


@pytest.mark.parametrize("kind", ["Bucket", "Topic", "Queue"])
def test_everything_is_reached_over_tls_only(dev: Assembly, kind: str) -> None:
    """A payload must not cross a network in the clear because of a wrong address."""
    policies = {
        "Bucket": "S3::BucketPolicy",
        "Topic": "SNS::TopicPolicy",
        "Queue": "SQS::QueuePolicy",
    }
    service = {"Bucket": "S3", "Topic": "SNS", "Queue": "SQS"}[kind]
    guarded = set()
    for policy in dev.resources(f"AWS::{policies[kind]}"):
        denied = [
            statement
            for statement in policy.properties["PolicyDocument"]["Statement"]
            if statement["Effect"] == "Deny"
            and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        ]
        assert denied, policy.logical_id
        targets = policy.properties.get(f"{kind}s") or [policy.properties[kind]]
        guarded |= {(policy.stack, target["Ref"]) for target in targets}

    assert guarded == {(r.stack, r.logical_id) for r in dev.resources(f"AWS::{service}::{kind}")}


def test_buckets_are_private(prod: Assembly) -> None:
    """No setting of one object may make it public."""
    for bucket in prod.resources("AWS::S3::Bucket"):
        assert set(bucket.properties["PublicAccessBlockConfiguration"].values()) == {True}


def test_everything_is_encrypted_with_aws_owned_keys_by_default(dev: Assembly) -> None:
    """Nothing lies in the clear, and a trial pays for no keys but those of its alarms."""
    alarms = dev.one("AWS::SNS::Topic", stack=HERE, TopicName="spillway-dev-alarms").properties
    (key,) = dev.resources("AWS::KMS::Key", stack=HERE)
    assert alarms["KmsMasterKeyId"] == {"Fn::GetAtt": [key.logical_id, "Arn"]}
    assert len(dev.resources("AWS::KMS::Key")) == len(dev.deployment.regions)
    for bucket in dev.resources("AWS::S3::Bucket"):
        assert "AES256" in json.dumps(bucket.properties["BucketEncryption"])
    for resource in dev.resources("AWS::SQS::Queue"):
        assert resource.properties["SqsManagedSseEnabled"] is True
    for topic in dev.resources("AWS::SNS::Topic"):
        if not topic.properties["TopicName"].endswith("-alarms"):
            assert str(topic.properties["KmsMasterKeyId"]).endswith("alias/aws/sns")


def test_prod_encrypts_with_keys_of_its_own(prod: Assembly) -> None:
    """Whoever withdraws the key withdraws the data: payloads, messages, slots and logs alike."""
    for resource in prod.resources("AWS::KMS::Key"):
        assert resource.properties["EnableKeyRotation"] is True
    keys = {r.stack: {"Fn::GetAtt": [r.logical_id, "Arn"]} for r in prod.resources("AWS::KMS::Key")}
    assert set(keys) == {f"{s}-us-east-{n}" for s in ("Region", "Replica") for n in (1, 2)}

    def key(resource: Resource) -> Any:
        here = resource.stack.split("-", 2 if resource.stack.startswith("Model") else 1)[-1]
        return keys.get(resource.stack) or f"arn:aws:kms:{here}:123456789012:alias/spillway-prod"

    for bucket in prod.resources("AWS::S3::Bucket"):
        (rule,) = bucket.properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == key(bucket)
        assert rule["BucketKeyEnabled"] is True
    for kind in ("AWS::SQS::Queue", "AWS::SNS::Topic"):
        for resource in prod.resources(kind):
            assert resource.properties["KmsMasterKeyId"] == key(resource)
    for resource in prod.resources("AWS::Logs::LogGroup"):
        assert resource.properties["KmsKeyId"] == key(resource)
    for resource in prod.resources("AWS::DynamoDB::Table"):
        assert resource.properties["SSESpecification"]["KMSMasterKeyId"] == key(resource)


def test_replication_of_encrypted_payloads_names_both_keys(prod: Assembly) -> None:
    """Without them S3 silently leaves encrypted objects where they are."""
    rules = payloads(prod)["ReplicationConfiguration"]["Rules"]

    assert len(rules) == 2
    for rule in rules:
        assert rule["SourceSelectionCriteria"] == {"SseKmsEncryptedObjects": {"Status": "Enabled"}}
        assert rule["Destination"]["EncryptionConfiguration"] == {
            "ReplicaKmsKeyID": "arn:aws:kms:us-east-2:123456789012:alias/spillway-prod-replica"
        }
    aliases = {(a.stack, a.properties["AliasName"]) for a in prod.resources("AWS::KMS::Alias")}
    assert ("Replica-us-east-2", "alias/spillway-prod-replica") in aliases
    assert ("Region-us-east-1", "alias/spillway-prod") in aliases


def test_services_may_use_the_key_for_our_resources_only(prod: Assembly) -> None:
    """Logs and SNS work under our key, and nobody else's log groups or topics do."""
    key = prod.one("AWS::KMS::Key", stack=HERE).properties
    services = {
        statement["Principal"]["Service"]: json.dumps(statement["Condition"])
        for statement in key["KeyPolicy"]["Statement"]
        if "Service" in statement["Principal"]
    }

    assert set(services) == {
        "cloudwatch.amazonaws.com",
        "logs.us-east-1.amazonaws.com",
        "sns.amazonaws.com",
    }
    assert "alarm:spillway-prod-*" in services["cloudwatch.amazonaws.com"]
    for group in prod.resources("AWS::Logs::LogGroup", stack=HERE):
        name = group.properties["LogGroupName"]
        assert name[: name.index("spillway-prod-")] in services["logs.us-east-1.amazonaws.com"]
    assert "123456789012:spillway-prod-succeeded" in services["sns.amazonaws.com"]


def test_what_containers_print_is_kept_as_configured(dev: Assembly, prod: Assembly) -> None:
    """Containers may print prompts: encrypted, and not for ever as SageMaker would keep them."""
    for assembly, days in ((dev, 7), (prod, 90)):
        name = assembly.deployment.name
        for version in ("chat-v1", "embedder-v1"):
            log = assembly.one(
                "AWS::Logs::LogGroup",
                stack=HERE,
                LogGroupName=f"/aws/sagemaker/Endpoints/{name}-{version}",
            )
            assert log.properties["RetentionInDays"] == days
            assert log.body["DeletionPolicy"] == "Delete"


def test_the_gate_is_regional_and_forgets(dev: Assembly) -> None:
    """Slots of a region are counted there alone, at one write unit each."""
    gate = dev.one("AWS::DynamoDB::Table", stack=HERE).properties

    assert gate["TableName"] == "spillway-dev-gate"
    assert gate["BillingMode"] == "PAY_PER_REQUEST"
    assert gate["TimeToLiveSpecification"] == {"AttributeName": "expires_s", "Enabled": True}


def test_a_client_finds_the_address(dev: Assembly) -> None:
    """The command line reads where a region answers from its stack."""
    outputs = dev.templates[HERE]["Outputs"]

    assert "execute-api" in json.dumps(outputs["Url"]["Value"])
