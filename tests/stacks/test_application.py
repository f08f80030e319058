"""The application as a whole: what is deployed where, in which order, and beside whom."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3
from cdk_nag import AwsSolutionsChecks
from cfnlint.api import lint
from cfnlint.config import ConfigMixIn
from cfnlint.rules import RulesCollection
from cfnlint.runner import Runner

import app as application
from tests.stacks.assemblies import ROOT, Assembly, Synthesize, changed_dev

DEV_STACKS = {
    "Data": set(),
    **{f"Replica-{region}": set() for region in ("us-east-1", "us-east-2", "us-west-2")},
    "Region-us-east-1": {"Data", "Replica-us-east-2", "Replica-us-west-2"},
    "Region-us-east-2": {"Data", "Replica-us-east-1", "Replica-us-west-2"},
    "Region-us-west-2": {"Data", "Replica-us-east-1", "Replica-us-east-2"},
    **{
        f"Model-{model}-{region}": {f"Region-{region}"}
        for region in ("us-east-1", "us-east-2", "us-west-2")
        for model in ("chat", "embedder")
    },
}


def values(node: Any) -> Iterator[Any]:
    """Everything in a template, at any depth."""
    yield node
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from values(value)
    if isinstance(node, list):
        for value in node:
            yield from values(value)


def test_stacks_are_deployed_after_those_they_need(dev: Assembly) -> None:
    """A first deployment fails when a bucket replicates to one that does not exist yet."""
    needed = {
        name: {other for other in artifact.get("dependencies", []) if "." not in other}
        for name, artifact in dev.stacks()
    }

    assert needed == DEV_STACKS


def test_a_stack_is_named_after_its_deployment(dev: Assembly) -> None:
    """Two deployments in one account keep their stacks apart."""
    for name, artifact in dev.stacks():
        assert artifact["properties"]["stackName"] == f"spillway-dev-{name}"


def test_every_stack_names_its_account_and_region(dev: Assembly) -> None:
    """Synthesis asks nobody where it is; the configuration says where everything goes."""
    places = {name: artifact["environment"] for name, artifact in dev.stacks()}

    assert places["Data"] == "aws://123456789012/us-east-1"
    assert places["Model-chat-us-west-2"] == "aws://123456789012/us-west-2"
    assert not [place for place in places.values() if "unknown" in place]


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_stacks_share_names_and_nothing_else(
    assembly: Callable[[str], Assembly], name: str
) -> None:
    """An export locks the stack that it comes from; a custom resource is code that nobody runs."""
    for stack, template in assembly(name).templates.items():
        words = {value for value in values(template) if isinstance(value, str)}
        kinds = {body["Type"] for body in template["Resources"].values()}
        assert not words & {"Fn::ImportValue", "Fn::GetStackOutput", "Export"}, stack
        assert not [kind for kind in kinds if kind.startswith(("Custom::", "AWS::CDK"))], stack
        assert "AWS::CloudFormation::CustomResource" not in kinds, stack


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_cdk_nag_finds_nothing(name: str, tmp_path: Path, layer: Path) -> None:
    """The security review finds no surprise: each exception stands in the code with its reason."""
    app = application.create(
        outdir=tmp_path, context={"layer": str(layer), "config": f"config/{name}.yaml"}
    )
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))

    app.synth()  # Raises on any finding that nobody acknowledged.


def test_cdk_nag_is_listened_to() -> None:
    """A review that cannot fail protects nobody."""
    app = cdk.App(analytics_reporting=False)
    s3.Bucket(cdk.Stack(app, "Careless"), "Bucket")
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))

    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()


@pytest.fixture(scope="module")
def lint_rules() -> RulesCollection:
    """cfn-lint's rules, which take longer to load than to apply."""
    return Runner(ConfigMixIn(regions=["us-east-1"])).rules


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_cfn_lint_finds_nothing(
    assembly: Callable[[str], Assembly], name: str, lint_rules: RulesCollection
) -> None:
    """What CloudFormation would refuse after ten minutes is refused here."""
    synthesized = assembly(name)
    # Between regions nothing differs but names: one stack of each kind is enough.
    kinds = {
        re.sub(r"-[a-z]+-[a-z]+-\d$", "", stack): (stack, artifact)
        for stack, artifact in synthesized.stacks()
    }
    assert {"Data", "Region"} < set(kinds)
    for stack, artifact in kinds.values():
        region = artifact["environment"].rpartition("/")[2]
        template = (synthesized.path / f"{stack}.template.json").read_text()
        found = lint(template, rules=lint_rules, regions=[region])
        # CDK writes dependencies on roles that the properties imply anyway (W3005).
        assert not [str(match) for match in found if match.rule.id != "W3005"], stack


def test_synthesis_needs_nothing_but_the_files(tmp_path: Path, layer: Path) -> None:
    """A pipeline without credentials, git or network synthesizes what a laptop does."""
    context = {"layer": str(layer), "config": "config/prod.yaml"}
    subprocess.run(
        [sys.executable, str(ROOT / "app.py")],
        cwd=tmp_path,
        env={
            # The command line's way to pass its own arguments.
            "CDK_CONTEXT_JSON": json.dumps(context),
            "CDK_OUTDIR": str(tmp_path / "assembly"),
            "HOME": os.environ.get("HOME", str(tmp_path)),
            "PATH": "",
            "PYTHONPATH": str(ROOT),
        },
        check=True,
        capture_output=True,
        timeout=120,
    )

    manifest = json.loads((tmp_path / "assembly" / "manifest.json").read_text())
    assert "missing" not in manifest  # What the command line would look up in the account.
    assert "Region-us-east-1" in manifest["artifacts"]
    assert [path.name for path in tmp_path.iterdir()] == ["assembly"]


def test_a_missing_layer_says_how_to_build_it(tmp_path: Path) -> None:
    """A newcomer who runs app.py by hand learns the one command that comes first."""
    with pytest.raises(FileNotFoundError, match="`make setup` builds"):
        application.create(outdir=tmp_path, context={"layer": str(tmp_path / "nowhere")})


@pytest.fixture(scope="module")
def before_and_after(
    synthesize: Synthesize, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Assembly, Assembly, Assembly]:
    """One region synthesized twice with the same functions, then with a changed one."""
    folder = tmp_path_factory.mktemp("change")
    config = changed_dev(folder, lambda _: None)
    copy = folder / "lambdas"
    shutil.copytree(ROOT / "lambdas", copy)
    first, again = synthesize(config), synthesize(config, lambdas=str(copy))
    (copy / "wiring.py").write_text("CHANGED = True\n")
    (copy / "__pycache__").mkdir(exist_ok=True)
    return first, again, synthesize(config, lambdas=str(copy))


def test_the_same_files_give_the_same_templates(
    before_and_after: tuple[Assembly, Assembly, Assembly],
) -> None:
    """A deployment without a change replaces nothing, on whichever machine it was synthesized."""
    first, again, _ = before_and_after

    assert first.templates == again.templates


def test_a_change_to_a_function_never_touches_a_gpu(
    before_and_after: tuple[Assembly, Assembly, Assembly],
) -> None:
    """Fixing a message must not replace an endpoint that took ten minutes to warm up."""
    before, _, after = before_and_after
    changed = {
        stack for stack in before.templates if before.templates[stack] != after.templates[stack]
    }

    assert changed == {"Region-us-east-1"}


def test_every_function_runs_the_same_archive(dev: Assembly) -> None:
    """One upload per deployment, and no function left behind on older code."""
    codes = {str(f.properties["Code"]["S3Key"]) for f in dev.resources("AWS::Lambda::Function")}
    (archive,) = (dev.path / f"asset.{code.removesuffix('.zip')}" for code in codes)

    policy = json.loads((archive / "lambdas" / "policy.json").read_text())
    assert policy == json.loads(json.dumps(dev.deployment.policy().to_json()))
    told = json.loads((archive / "lambdas" / "openapi.json").read_text())
    assert told == json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert (archive / "lambdas" / "wiring.py").is_file()
    assert [path.name for path in archive.iterdir()] == ["lambdas"]
    assert not list(archive.rglob("*.pyc"))


NAMES = (
    "AliasName", "BucketName", "EndpointName", "FunctionName", "LogGroupName", "QueueName",
    "TableName", "TopicName",
)  # fmt: skip


def physical_names(assembly: Assembly) -> dict[str, set[str]]:
    """Every fixed name by its kind, with the names of APIs and web ACLs."""
    names: dict[str, set[str]] = {}
    for resource in assembly.resources():
        for field in (*NAMES, "Name"):
            name = resource.properties.get(field)
            named = field != "Name" or resource.kind in {
                "AWS::ApiGateway::RestApi",
                "AWS::WAFv2::WebACL",
            }
            if isinstance(name, str) and named:
                names.setdefault(field, set()).add(name)
    names["stack"] = {artifact["properties"]["stackName"] for _, artifact in assembly.stacks()}
    return names


def granted(assembly: Assembly) -> Iterator[str]:
    """Every resource with a wildcard in any role's policies."""
    for role in assembly.resources("AWS::IAM::Role"):
        for policy in role.properties.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                resources = statement["Resource"]
                for resource in resources if isinstance(resources, list) else [resources]:
                    if isinstance(resource, str) and "*" in resource.removeprefix("*"):
                        yield resource


def test_dev_and_prod_live_in_one_account(dev: Assembly, prod: Assembly) -> None:
    """A team without a second account deploys prod beside dev, and neither stops the other."""
    ours, theirs = physical_names(dev), physical_names(prod)

    assert set(theirs) >= {"stack", "TableName", "BucketName", "FunctionName", "QueueName"}
    for field in ours:
        assert not ours[field] & theirs.get(field, set()), field


def test_no_permission_reaches_the_deployment_beside(dev: Assembly, prod: Assembly) -> None:
    """A function of dev must not be able to read prod's queues or wake prod's endpoints."""
    for one, other in ((dev, prod), (prod, dev)):
        neighbours = {name for names in physical_names(other).values() for name in names}
        for resource in granted(one):
            # What follows the account, and its last part: names stand at either place.
            whole = resource.removesuffix(":*").split(":", 5)[5]
            for pattern in {whole, whole.rpartition(":")[2], whole.rpartition("/")[2]} - {"*"}:
                assert not fnmatch.filter(neighbours, pattern), resource


def test_assemblies_stay_small(dev: Assembly) -> None:
    """A template over 1 MB or 500 resources cannot be deployed at all."""
    for stack, template in dev.templates.items():
        assert len(template["Resources"]) < 250, stack
        assert (dev.path / f"{stack}.template.json").stat().st_size < 500_000, stack
