"""Each function may do its work and nothing beside it."""

from collections.abc import Callable

import pytest

from stacks.roles import Grant
from tests.stacks.assemblies import Assembly, Resource, listed, statements

ACCOUNT = "123456789012"
HERE = f"us-east-1:{ACCOUNT}"
REGIONS = ("us-east-1", "us-east-2", "us-west-2")
OURS = f"arn:aws:s3:::spillway-dev-{ACCOUNT}-us-east-1-payloads"
EVERYWHERE = {
    f"arn:aws:s3:::spillway-dev-{ACCOUNT}-{region}-{kind}"
    for region in REGIONS
    for kind in ("payloads", "replica")
}
FILES = {f"{bucket}/{prefix}/*" for bucket in EVERYWHERE for prefix in ("files", "outputs")}
BROUGHT = {
    f"{bucket}/files/*"
    for bucket in EVERYWHERE
    if bucket == OURS or ("us-east-1" not in bucket and bucket.endswith("replica"))
}
"""What clients bring here is kept here, and again in whichever other region takes it."""

UPLOADS = {f"{bucket}/uploads/*" for bucket in EVERYWHERE if bucket.endswith("payloads")}


def table(name: str, index: str = "", *, region: str = "us-east-1") -> str:
    """A table of a region, or one of its indexes."""
    place = f"{region}:{ACCOUNT}:table/spillway-dev-{name}"
    return f"arn:aws:dynamodb:{place}{index and f'/index/{index}'}"


def queue(name: str, region: str = "us-east-1") -> str:
    """A queue of a region."""
    return f"arn:aws:sqs:{region}:{ACCOUNT}:spillway-dev-{name}"


def tiers(suffix: str = "", *, regions: tuple[str, ...] = ("us-east-1",)) -> set[str]:
    """The queues of every model."""
    return {
        queue(f"*-{tier}{suffix}", region)
        for region in regions
        for tier in ("interactive", "standard", "batch")
    }


def function(name: str, region: str = "us-east-1") -> str:
    """A function of a region."""
    return f"arn:aws:lambda:{region}:{ACCOUNT}:function:spillway-dev-{name}"


ENDPOINTS = f"arn:aws:sagemaker:{HERE}:endpoint/spillway-dev-*"
CONSUME = "DeleteMessage GetQueueAttributes ReceiveMessage"

ALLOWED: dict[str, dict[str, set[str]]] = {
    # function: actions (of one service): resources
    "authorize": {"dynamodb:GetItem": {table("directory")}},
    "submit": {
        "dynamodb:GetItem": {table("ledger"), table("directory"), table("gate")},
        # What tenants used is counted in every region, and nothing else is read of other gates.
        "dynamodb:BatchGetItem": {table("ledger"), *(table("gate", region=r) for r in REGIONS)},
        "dynamodb:PutItem": {table("ledger")},
        "dynamodb:DeleteItem": {table("ledger")},
        "dynamodb:UpdateItem": {table("ledger"), table("gate")},
        "dynamodb:Query": {table("ledger", "listing")},
        # Spill: into the queue, the buckets and the dispatcher of whichever region has room.
        "sqs:SendMessage": {*tiers(regions=REGIONS), queue("webhooks")},
        # Links to uploads carry these rights: to the bucket of whichever region it began in.
        "s3:PutObject": {f"{b}/inputs/*" for b in EVERYWHERE} | UPLOADS | BROUGHT,
        "s3:AbortMultipartUpload": UPLOADS,
        "s3:ListMultipartUploadParts": UPLOADS,
        "s3:ListBucket": EVERYWHERE,
        "s3:GetObject": {f"{b}/results/*" for b in EVERYWHERE if b.endswith("payloads")}
        | {f"{b}/uploads/*" for b in EVERYWHERE}
        | FILES,
        "s3:DeleteObject": FILES
        | {f"{b}/{p}/*" for b in EVERYWHERE for p in ("inputs", "results", "uploads")}
        | {f"{b}/failures/*" for b in EVERYWHERE if b.endswith("payloads")},
        "lambda:InvokeFunction": {
            *(function("dispatch", r) for r in REGIONS),
            function("wait"),
            function("linger"),
            function("batches"),
        },
    },
    "wait": {"dynamodb:GetItem": {table("ledger")}},
    "linger": {"dynamodb:GetItem": {table("ledger")}},
    "dispatch": {
        "dynamodb:GetItem": {table("gate"), table("ledger")},
        "dynamodb:UpdateItem": {table("gate"), table("ledger")},
        "sqs:ReceiveMessage": tiers(),
        "sqs:DeleteMessage": tiers(),
        "sqs:ChangeMessageVisibility": tiers(),
        "sqs:SendMessage": {*tiers(), queue("webhooks")},
        "sagemaker:InvokeEndpointAsync": {ENDPOINTS},
        # A job that was moved brings its input.
        "s3:GetObject": {f"{b}/inputs/*" for b in EVERYWHERE}
        | {f"{b}/uploads/*" for b in EVERYWHERE},
        "s3:PutObject": {f"{OURS}/inputs/*"},
        # And sees whether an upload is gone.
        "s3:ListBucket": EVERYWHERE,
        "lambda:InvokeFunction": {function("dispatch")},
    },
    "complete": {
        **{f"sqs:{action}": {queue("results")} for action in CONSUME.split()},
        "sqs:SendMessage": {*tiers(), queue("webhooks")},
        "dynamodb:GetItem": {table("ledger"), table("gate")},
        "dynamodb:UpdateItem": {table("ledger"), table("gate")},
        "s3:GetObject": {f"{OURS}/results/*", f"{OURS}/failures/*"},
        "s3:DeleteObject": {f"{OURS}/results/*", f"{OURS}/failures/*"},
        "s3:ListBucket": {OURS},
        "lambda:InvokeFunction": {function("dispatch")},
    },
    "notify": {
        **{f"sqs:{action}": {queue("webhooks")} for action in CONSUME.split()},
        "sqs:ChangeMessageVisibility": {queue("webhooks")},
        "sqs:SendMessage": {queue("deliveries")},
        "dynamodb:GetItem": {table("directory")},  # its secrets alone, see below
    },
    "record": {
        **{f"sqs:{action}": {queue("deliveries")} for action in CONSUME.split()},
        "dynamodb:UpdateItem": {table("ledger")},
    },
    "beat": {
        **{f"sqs:{action}": {queue("beats")} for action in CONSUME.split()},
        "sqs:SendMessage": {queue("beats")},
        "sqs:GetQueueAttributes": {queue("beats"), *tiers()},
        "dynamodb:GetItem": {table("directory"), table("gate")},
        "dynamodb:BatchGetItem": {table("ledger")},
        "dynamodb:UpdateItem": {table("ledger"), table("gate")},
        "dynamodb:PutItem": {table("directory"), table("gate")},
        "dynamodb:Query": {table("ledger", "live")},
        "sagemaker:DescribeEndpoint": {ENDPOINTS},
        # It asks its peers' health routes before it calls them lost.
        "lambda:InvokeFunction": {
            function("dispatch"),
            function("sweep"),  # orders to take over jobs of another region
            *(function("submit", region) for region in REGIONS[1:]),
        },
    },
    "sweep": {
        "dynamodb:GetItem": {table("ledger"), table("gate")},
        "dynamodb:BatchGetItem": {table("ledger")},
        "dynamodb:UpdateItem": {table("ledger"), table("gate")},
        "dynamodb:DeleteItem": {table("ledger")},
        "dynamodb:Query": {table("ledger", "live"), table("ledger", "listing")},
        "dynamodb:Scan": {table("directory")},
        "sqs:GetQueueAttributes": tiers(),
        "sqs:ReceiveMessage": tiers("-dead"),
        "sqs:DeleteMessage": tiers("-dead"),
        "sqs:SendMessage": {*tiers(), queue("webhooks")},
        "s3:GetObject": {f"{OURS}/results/*"},
        "s3:DeleteObject": {f"{OURS}/results/*", f"{OURS}/failures/*"},
        "s3:ListBucket": {OURS},
        "lambda:InvokeFunction": {function("dispatch")},
    },
    "batches": {
        "dynamodb:GetItem": {table("ledger"), table("gate")},
        "dynamodb:BatchGetItem": {table("ledger")},
        # The jobs of lines and the records of files; what is over is forgotten.
        "dynamodb:PutItem": {table("ledger")},
        "dynamodb:UpdateItem": {table("ledger"), table("gate")},  # its counters alone, see below
        "dynamodb:DeleteItem": {table("ledger")},
        "dynamodb:Query": {table("ledger", "live")},
        "sqs:SendMessage": {*tiers(), queue("webhooks")},
        "s3:GetObject": {f"{b}/{p}/*" for b in EVERYWHERE for p in ("files", "uploads")}
        | {f"{b}/results/*" for b in EVERYWHERE if b.endswith("payloads")}
        | {f"{OURS}/batches/*"},
        "s3:PutObject": {each.replace("/files/", "/inputs/") for each in BROUGHT}
        | {f"{OURS}/batches/*", f"{OURS}/outputs/*"},
        "s3:DeleteObject": FILES | {f"{b}/uploads/*" for b in EVERYWHERE} | {f"{OURS}/batches/*"},
        "lambda:InvokeFunction": {function("dispatch")},
    },
    "release": {
        "dynamodb:GetItem": {table("ledger"), table("gate")},
        "dynamodb:BatchGetItem": {table("ledger")},
        # Records, and smoke jobs.
        "dynamodb:PutItem": {table("ledger")},
        "sqs:SendMessage": tiers(),
        "cloudwatch:DescribeAlarms": {
            f"arn:aws:cloudwatch:{HERE}:alarm:*",
        },
        "lambda:InvokeFunction": {function("dispatch")},
    },
}

EVERYTHING = {
    # What AWS has no addresses for.
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
}


def role_of(assembly: Assembly, name: str) -> Resource:
    """The role of a function in the first region."""
    functions = assembly.resources("AWS::Lambda::Function", stack="Region-us-east-1")
    (function,) = (f for f in functions if str(f.properties["FunctionName"]).endswith(f"-{name}"))
    role_id = function.properties["Role"]["Fn::GetAtt"][0]
    return Resource(
        function.stack, role_id, assembly.templates[function.stack]["Resources"][role_id]
    )


def test_every_function_is_in_the_table(dev: Assembly) -> None:
    """A new function does not come without somebody deciding what it may do."""
    functions = dev.resources("AWS::Lambda::Function", stack="Region-us-east-1")

    assert {f"{f.properties['FunctionName']}" for f in functions} == {
        f"spillway-dev-{name}" for name in ALLOWED
    }


@pytest.mark.parametrize("name", ALLOWED)
def test_a_function_may_do_exactly_its_work(dev: Assembly, name: str) -> None:
    """One right too few stops jobs; one too many is what an intruder will use."""
    given: dict[str, set[str]] = {}
    for statement in statements(role_of(dev, name)):
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            resources = listed(statement["Resource"])
            if action.startswith("logs:"):
                (log,) = resources
                assert log["Fn::GetAtt"][0].startswith(f"Functions{name.capitalize()}Log")
            else:
                given.setdefault(action, set()).update(resources)

    assert given == ALLOWED[name]


@pytest.mark.parametrize("name", ALLOWED)
def test_keys_of_our_own_add_the_use_of_keys_and_nothing_else(prod: Assembly, name: str) -> None:
    """Encryption with a customer's key is no occasion to widen a role."""
    actions = {
        action
        for statement in statements(role_of(prod, name))
        for action in listed(statement["Action"])
        if not action.startswith("logs:")
    }

    keyless = {"authorize", "wait", "linger"}
    extra = set() if name in keyless else {"kms:Decrypt", "kms:GenerateDataKey"}
    assert actions == set(ALLOWED[name]) | extra


@pytest.mark.parametrize("deployment", ["dev", "prod"])
def test_no_role_may_touch_everything(assembly: Callable[[str], Assembly], deployment: str) -> None:
    """A wildcard stands only where AWS has no address, and then under a condition if it can."""
    for role in assembly(deployment).resources("AWS::IAM::Role"):
        for statement in statements(role):
            actions, resources = listed(statement["Action"]), listed(statement["Resource"])
            assert not [action for action in actions if "*" in action], role.logical_id
            if "*" in resources:
                assert set(actions) <= EVERYTHING, role.logical_id
            if "cloudwatch:PutMetricData" in actions:
                assert "cloudwatch:namespace" in str(statement["Condition"])
            if any(str(resource).endswith(":key/*") for resource in resources):
                names = statement["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"]
                assert names.startswith("alias/spillway-prod")


def test_beat_writes_its_own_snapshot_only(dev: Assembly) -> None:
    """Who may write anything into the directory may let anybody in."""
    (statement,) = (
        statement
        for statement in statements(role_of(dev, "beat"))
        if "dynamodb:PutItem" in listed(statement["Action"])
        and table("directory") in listed(statement["Resource"])
    )

    assert statement["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["snapshot#us-east-1"]}
    }


def test_submit_reads_usage_of_other_regions_and_nothing_else_of_their_gates(
    dev: Assembly,
) -> None:
    """A region's slots and offers are its own business, whoever gets into another one's submit."""
    (statement,) = (
        statement
        for statement in statements(role_of(dev, "submit"))
        if table("gate", region="us-west-2") in listed(statement["Resource"])
    )

    assert listed(statement["Action"]) == ["dynamodb:BatchGetItem"]
    assert statement["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["usage#*"]}
    }


def test_batches_counts_what_tenants_used_and_changes_nothing_else_of_the_gate(
    dev: Assembly,
) -> None:
    """Slots, rates and offers are not its business, whatever a batch's file says."""
    (statement,) = (
        statement
        for statement in statements(role_of(dev, "batches"))
        if "dynamodb:UpdateItem" in listed(statement["Action"])
        and table("gate") in listed(statement["Resource"])
    )

    assert listed(statement["Resource"]) == [table("gate")]
    assert statement["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["usage#us-east-1#*"]}
    }


@pytest.mark.parametrize("deployment", ["dev", "prod"])
def test_what_speaks_to_anybodys_hosts_reads_its_secrets_only(
    assembly: Callable[[str], Assembly], deployment: str
) -> None:
    """Whoever tricks the delivering function gets neither keys, nor tenants, nor jobs."""
    reads = [
        statement
        for statement in statements(role_of(assembly(deployment), "notify"))
        if any(action.startswith("dynamodb:") for action in listed(statement["Action"]))
    ]

    (read,) = reads
    assert listed(read["Action"]) == ["dynamodb:GetItem"]
    assert read["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["webhook#*"]}}


def test_only_services_may_assume_roles(dev: Assembly) -> None:
    """No role of ours is open to people or other accounts."""
    for role in dev.resources("AWS::IAM::Role"):
        for statement in role.properties["AssumeRolePolicyDocument"]["Statement"]:
            assert set(statement["Principal"]) == {"Service"}, role.logical_id


def test_a_grant_with_a_wildcard_needs_a_reason() -> None:
    """Whoever reviews a wildcard finds why it is there, and nobody adds one in passing."""
    with pytest.raises(ValueError, match="say why"):
        Grant(actions=("s3:GetObject",), resources=("arn:aws:s3:::bucket/*",))
    with pytest.raises(ValueError, match="name the actions"):
        Grant(actions=("s3:*",), resources=("arn:aws:s3:::bucket",))
