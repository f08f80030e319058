"""Templates of a cloud assembly become stacks, or an error that names what cannot.

The pages: "Intrinsic function reference", "Pseudo parameters reference" and "DependsOn attribute"
of the AWS CloudFormation user guide (docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from moto.cloudformation import parsing
from moto.cloudformation.models import Stack

from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.cloudformation import (
    BY_MOTO,
    NO_EFFECT,
    SUPPORTED,
    Assembly,
    AssemblyError,
    CloudFormation,
    DeploymentError,
    check_code,
)
from spillway.twin.resources import Resource, UnsupportedError

ACCOUNT = "111122223333"
QUEUE = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "jobs"}}


class World:
    """A directory to write assemblies to, and moto to deploy them in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scheduler = Scheduler(virtual=True)
        self.hook = Hook(self.scheduler, account=ACCOUNT)
        self.created: list[Resource] = []
        self.cloudformation = CloudFormation(dict.fromkeys(SUPPORTED, self.create))
        self.artifacts: dict[str, Any] = {}

    def close(self) -> None:
        """Leave moto as it was."""
        self.cloudformation.close()
        self.hook.close()
        self.scheduler.close()

    def create(self, resource: Resource) -> Resource | None:
        """Stand for every service."""
        if resource.properties.get("RestApiId") == "refused":
            raise ValueError("there is no such API")
        if resource.properties.get("RestApiId") == "unsupported":
            raise UnsupportedError("RestApiId: not this one")
        self.created.append(resource)
        return replace(resource, attributes={"Arn": f"arn:{resource.physical_id}"})

    def write(
        self,
        name: str,
        resources: Mapping[str, Any],
        *,
        region: str = "us-east-1",
        after: tuple[str, ...] = (),
        files: Mapping[str, str] | None = None,
        **sections: Any,
    ) -> None:
        """Add a stack to the assembly, as `cdk synth` writes it."""
        self._dump(f"{name}.template.json", {"Resources": resources, **sections})
        self.artifacts[name] = {
            "type": "aws:cloudformation:stack",
            "environment": f"aws://{ACCOUNT}/{region}",
            "properties": {"templateFile": f"{name}.template.json", "stackName": f"app-{name}"},
            "dependencies": [*after, f"{name}.assets"],
        }
        self.artifacts[f"{name}.assets"] = {
            "type": "cdk:asset-manifest",
            "properties": {"file": f"{name}.assets.json"},
        }
        assets = {
            key: {
                "source": {"path": path, "packaging": "zip"},
                "destinations": {"here": {"bucketName": "assets", "objectKey": key}},
            }
            for key, path in (files or {}).items()
        }
        self._dump(f"{name}.assets.json", {"files": assets})
        self._dump("manifest.json", {"version": "48.0.0", "artifacts": self.artifacts})

    def _dump(self, name: str, document: Any) -> None:
        (self.path / name).write_text(json.dumps(document), encoding="utf-8")

    def deploy(self) -> None:
        """Deploy what was written."""
        self.cloudformation.deploy(Assembly(self.path))

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """Call a service in the stacks' account."""
        return self.hook.session(region=region).client(service)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Build and tear down a world."""
    with mock_aws():
        world = World(tmp_path)
        yield world
        world.close()


def function(**properties: Any) -> dict[str, Any]:
    """Make a function's resource."""
    code = {"S3Bucket": {"Fn::Sub": "assets-${AWS::AccountId}"}, "S3Key": "abc.zip"}
    wanted = {"FunctionName": "submit", "Code": code, "Handler": "json.decoder.handle", "Role": "r"}
    return {"Type": "AWS::Lambda::Function", "Properties": wanted | properties}


def test_a_stack_is_where_operators_look_for_it(world: World) -> None:
    """An operator asks for stacks and resources by name, account and region."""
    world.write("Region", {"Jobs": QUEUE}, region="eu-west-1")
    world.deploy()
    client = world.client("cloudformation", "eu-west-1")
    (stack,) = client.describe_stacks(StackName="app-Region")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert f":{ACCOUNT}:" in stack["StackId"]
    (resource,) = client.describe_stack_resources(StackName="app-Region")["StackResources"]
    assert (resource["LogicalResourceId"], resource["ResourceType"]) == ("Jobs", "AWS::SQS::Queue")
    assert world.client("sqs", "eu-west-1").list_queues()["QueueUrls"] == [
        f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/jobs"
    ]


def test_references_and_pseudo_parameters_are_resolved(world: World) -> None:
    """A function told the wrong address calls nobody.

    Intrinsic function reference: Ref, Fn::GetAtt, Fn::Sub, Fn::Join; pseudo parameters.
    """
    variables = {
        "URL": {"Ref": "Jobs"},
        "ARN": {"Fn::GetAtt": ["Jobs", "Arn"]},
        "PLACE": {"Fn::Sub": "${AWS::Partition}/${AWS::Region}/${AWS::AccountId}/${Other.Arn}"},
        "HOST": {"Fn::Join": ["", ["https://x.", {"Ref": "AWS::URLSuffix"}]]},
    }
    world.write(
        "Region",
        {
            "Submit": function(Environment={"Variables": variables}),
            "Jobs": QUEUE,
            "Other": {"Type": "AWS::Events::Rule", "Properties": {"Name": "tick"}},
        },
        files={"abc.zip": "asset.abc"},
    )
    world.deploy()
    submit = world.created[-1]
    assert submit.properties["Environment"]["Variables"] == {
        "URL": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/jobs",
        "ARN": f"arn:aws:sqs:us-east-1:{ACCOUNT}:jobs",
        "PLACE": f"aws/us-east-1/{ACCOUNT}/arn:tick",
        "HOST": "https://x.amazonaws.com",
    }
    assert (submit.physical_id, submit.stack, submit.logical_id) == (
        "submit",
        "app-Region",
        "Submit",
    )
    assert submit.asset == world.path / "asset.abc"


def test_resources_come_behind_those_they_depend_on(world: World) -> None:
    """An API deployed before its methods serves none of them.

    "With the DependsOn attribute you can specify that the creation of a specific resource follows
    another"; a reference is a dependency too.
    """

    def api(name: str, *after: str, **properties: Any) -> dict[str, Any]:
        return {
            "Type": f"AWS::ApiGateway::{name}",
            "Properties": properties,
            "DependsOn": list(after),
        }

    world.write(
        "Region",
        {
            "Stage": api("Stage", DeploymentId={"Ref": "Deployment"}),
            "Deployment": api("Deployment", "Method"),
            "Method": api("Method", RestApiId={"Fn::Sub": "${Api}"}),
            "Api": api("RestApi"),
        },
    )
    world.deploy()
    assert [each.logical_id for each in world.created] == ["Api", "Method", "Deployment", "Stage"]


def test_stacks_come_behind_those_they_depend_on(world: World) -> None:
    """A bucket cannot replicate to one that a later stack creates."""
    world.write("First", {"A": QUEUE}, after=("Second",), region="us-east-2")
    world.write("Second", {"B": QUEUE}, region="us-west-2")
    assert [stack.id for stack in Assembly(world.path).stacks] == ["Second", "First"]


@pytest.mark.parametrize(
    ("resource", "named"),
    [
        ({"Type": "AWS::Kinesis::Stream"}, ("AWS::Kinesis::Stream", "does not run this type")),
        (
            {"Type": "AWS::SQS::Queue", "Properties": {"FifoQueue": True}},
            ("AWS::SQS::Queue", "property FifoQueue"),
        ),
        (
            {
                "Type": "AWS::S3::Bucket",
                "Properties": {
                    "LifecycleConfiguration": {"Rules": [{"Status": "Enabled", "Transitions": []}]}
                },
            },
            ("AWS::S3::Bucket", "property LifecycleConfiguration.Rules.Transitions"),
        ),
        ({"Type": "Custom::Thing"}, ("Custom::Thing",)),
    ],
)
def test_what_cannot_run_is_named_and_nothing_is_created(
    world: World, resource: dict[str, Any], named: tuple[str, ...]
) -> None:
    """A resource that is silently left out makes every test above it a lie."""
    world.write("Region", {"Jobs": QUEUE, "Odd": resource})
    with pytest.raises(UnsupportedError) as caught:
        world.deploy()
    for part in (*named, "Odd", "app-Region"):
        assert part in str(caught.value)
    assert "QueueUrls" not in world.client("sqs").list_queues()


def test_a_section_that_cannot_run_is_named(world: World) -> None:
    """A macro that is not run leaves another template than the one deployed."""
    world.write("Region", {"Jobs": QUEUE}, Transform="AWS::Serverless-2016-10-31")
    with pytest.raises(UnsupportedError, match="section Transform"):
        world.deploy()


@pytest.mark.parametrize(
    ("api", "error"), [("refused", DeploymentError), ("unsupported", UnsupportedError)]
)
def test_a_refusal_says_where(world: World, api: str, error: type[Exception]) -> None:
    """Whoever reads "no such API" without a place searches a hundred resources."""
    stage = {"Type": "AWS::ApiGateway::Stage", "Properties": {"RestApiId": api}}
    world.write("Region", {"Live": stage})
    with pytest.raises(error, match=r"AWS::ApiGateway::Stage \(Live in stack app-Region\)"):
        world.deploy()


def test_an_attribute_that_is_not_known_is_named(world: World) -> None:
    """An empty attribute would surface as a wrong address in a function."""
    rule = {"Type": "AWS::Events::Rule"}
    names = {"Fn::GetAtt": ["Tick", "Colour"]}
    other = {"Type": "AWS::Events::Rule", "Properties": {"Name": names}}
    world.write("Region", {"Tick": rule, "Other": other})
    with pytest.raises(UnsupportedError, match="attribute Colour"):
        world.deploy()


def test_types_without_effect_can_be_referred_to(world: World) -> None:
    """A stack with a web firewall deploys, although there is no web."""
    world.write(
        "Region",
        {
            "Wall": {"Type": "AWS::WAFv2::WebACL", "Properties": {"Scope": "REGIONAL"}},
            "Tick": {
                "Type": "AWS::Events::Rule",
                "Properties": {"Name": {"Fn::GetAtt": ["Wall", "Arn"]}},
            },
        },
    )
    world.deploy()
    assert world.created[0].physical_id.startswith("arn:aws:wafv2:us-east-1:")


def test_every_type_is_on_one_list_only() -> None:
    """A type both run and without effect would be neither."""
    assert not set(SUPPORTED) & set(BY_MOTO)
    assert not (set(SUPPORTED) | set(BY_MOTO)) & set(NO_EFFECT)


def test_a_bootstrap_version_is_there_to_be_read(world: World) -> None:
    """Every template of the default synthesizer reads it, and there is no bootstrap here."""
    parameter = {
        "Type": "AWS::SSM::Parameter::Value<String>",
        "Default": "/cdk-bootstrap/x/version",
    }
    rule = {"Assertions": [{"Assert": {"Fn::Not": [{"Fn::Contains": [[], "1"]}]}}]}
    world.write(
        "Region", {"Jobs": QUEUE}, Parameters={"BootstrapVersion": parameter}, Rules={"Check": rule}
    )
    world.deploy()
    value = world.client("ssm").get_parameter(Name="/cdk-bootstrap/x/version")["Parameter"]["Value"]
    assert int(value) >= 6


def test_a_stack_reads_the_parameter_that_another_one_left(world: World) -> None:
    """Stacks share names and parameters; one that is missing fails a deployment on AWS."""
    name = {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/app/name"}
    left = {
        "Type": "AWS::SSM::Parameter",
        "Properties": {"Name": "/app/name", "Type": "String", "Value": "jobs"},
    }
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Ref": "Name"}}}
    world.write("Left", {"Left": left})
    world.write("Read", {"Queue": queue}, after=("Left",), Parameters={"Name": name})
    world.write("Lost", {"Queue": queue}, region="eu-west-1", Parameters={"Name": name})

    with pytest.raises(DeploymentError, match="app-Lost: there is no parameter /app/name"):
        world.deploy()
    (url,) = world.client("sqs").list_queues()["QueueUrls"]
    assert url.endswith("/jobs")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"type": "cdk:cloud-assembly"}, "stage"),
        ({"environment": "aws://unknown-account/unknown-region"}, "account and region"),
    ],
)
def test_an_assembly_of_another_shape_is_refused(
    world: World, change: dict[str, Any], named: str
) -> None:
    """Stages and stacks without environment cannot be placed."""
    world.write("Region", {"Jobs": QUEUE})
    world.artifacts["Region"] |= change
    world._dump("manifest.json", {"artifacts": world.artifacts})
    with pytest.raises(AssemblyError, match=named):
        world.deploy()


def test_a_missing_assembly_says_what_to_run(tmp_path: Path) -> None:
    """A newcomer starts the twin before anything was synthesized."""
    with pytest.raises(AssemblyError, match="make synth"):
        Assembly(tmp_path / "cdk.out")


def test_functions_run_the_code_that_would_be_deployed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever edits a function and forgets to synthesize would test one and deploy the other."""
    here, asset = world.path / "here" / "functions_x", world.path / "asset.abc" / "functions_x"
    for directory in (here, asset):
        directory.mkdir(parents=True)
        (directory / "__init__.py").write_text("handle = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(here.parent))
    resources = {"Submit": function(Handler="functions_x.handle")}
    world.write("Region", resources, files={"abc.zip": "asset.abc"})
    check_code(Assembly(world.path).stacks)
    (here / "__init__.py").write_text("handle = 2\n", encoding="utf-8")
    with pytest.raises(AssemblyError, match="make synth"):
        check_code(Assembly(world.path).stacks)


def test_moto_is_left_as_it_was(tmp_path: Path) -> None:
    """Somebody else's moto test in the same process must not meet the twin's types."""
    before = (parsing.resource_class_from_type, Stack.parse_template)
    with mock_aws():
        World(tmp_path).close()
    assert (parsing.resource_class_from_type, Stack.parse_template) == before


def alarm(threshold: int, *, depends: str | None = None) -> dict[str, Any]:
    """An alarm, which may be changed in place."""
    found: dict[str, Any] = {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {"AlarmName": "high", "Threshold": threshold},
    }
    return found | ({"DependsOn": depends} if depends else {})


def test_an_update_creates_what_is_new_and_changes_what_differs(world: World) -> None:
    """A second deployment must touch nothing that stays as it was.

    User guide, "Update behaviors of stack resources".
    """
    world.write("One", {"Queue": QUEUE, "Alarm": alarm(1)})
    world.deploy()
    world.created.clear()

    second = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"AlarmName": "second"}}
    world.write("One", {"Queue": QUEUE, "Alarm": alarm(2, depends="Second"), "Second": second})
    world.cloudformation.update(Assembly(world.path))

    assert [resource.physical_id for resource in world.created] == ["second", "high"]
    assert world.created[1].properties["Threshold"] == 2
    assert len([r for r in world.cloudformation.resources if r.physical_id == "high"]) == 1


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"Alarm": alarm(1)}, r"deletes no resources: AWS::SQS::Queue \(Queue\)"),
        (
            {"Queue": QUEUE | {"Properties": {"QueueName": "other"}}, "Alarm": alarm(1)},
            r"AWS::SQS::Queue \(Queue\): the twin does not change this type",
        ),
    ],
)
def test_a_change_that_the_twin_cannot_make_is_an_error(
    world: World, resources: Mapping[str, Any], said: str
) -> None:
    """A test must not pass because half of a deployment was left out."""
    world.write("One", {"Queue": QUEUE, "Alarm": alarm(1)})
    world.deploy()
    world.created.clear()
    world.write("One", resources)
    with pytest.raises(UnsupportedError, match=said):
        world.cloudformation.update(Assembly(world.path))
    assert world.created == []


def test_a_name_that_is_taken_refuses_the_whole_update(world: World) -> None:
    """What must not be changed in place has an id that changes with it, and a name that does not.

    User guide, "Validate stack deployments": "resource name conflict detection with existing
    resources", before a change set is executed; and the CDK guide, "Identifiers": with another
    logical id a new resource is created before the existing one is deleted.
    """
    world.write("One", {"Queue": QUEUE, "Alarm": alarm(1)})
    world.deploy()
    world.created.clear()
    world.write("One", {"Queue": QUEUE, "Other": alarm(2)})

    with pytest.raises(DeploymentError, match=r"\(Other\): high already exists, as Alarm"):
        world.cloudformation.update(Assembly(world.path))
    assert world.created == []
