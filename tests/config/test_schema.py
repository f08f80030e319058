"""A configuration that cannot be deployed is refused before anything is built, and says why."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.schema import TIERS, ConfigError, Deployment, load
from lambdas.domain.policy import Policy

ROOT = Path(__file__).parents[2]
DEV = ROOT / "config" / "dev.yaml"
PROD = ROOT / "config" / "prod.yaml"
GONE = object()
"""Stands for a field that is taken out."""


def changed(field: str, value: Any) -> dict[str, Any]:
    """The dev configuration with one field set, added or taken out."""
    document: dict[str, Any] = copy.deepcopy(yaml.safe_load(DEV.read_text()))
    *parents, last = field.split("/")
    place = document
    for parent in parents:
        place = place[parent]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return document


def refusal(tmp_path: Path, document: Any) -> str:
    """What the schema says about a document."""
    path = tmp_path / "test.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


DOMAIN = {"name": "api.example.com", "zone_id": "Z0123456789ABC", "zone_name": "example.com"}
V1 = "models/embedder/versions/v1"
HUB = {"hub": "owner/model", "revision": "0e9e39f249a16976918f6564b8830bc894c89659"}

REFUSED = [
    # field set, value, field named, what the message says is allowed
    ("name", "spillway", "name", "APPLICATION-STAGE"),
    ("name", "spillway-dev-two", "name", "APPLICATION-STAGE"),
    ("name", "Spillway-dev", "name", "APPLICATION-STAGE"),
    ("name", "spillway-development1", "name", "at most 20"),
    ("account", "1234", "account", "twelve digits"),
    ("account", 123456789012, "account", "twelve digits in quotes"),
    ("retain", "perhaps", "retain", "true or false"),
    ("retain", "yes", "retain", "true or false"),
    ("models/embedder/concurrency", True, "models.embedder.concurrency", "a whole number"),
    ("models/embedder/concurrency", "4", "models.embedder.concurrency", "at least 1 and at most"),
    ("models/embedder/concurrency", 4.5, "models.embedder.concurrency", "a whole number"),
    ("models/embedder/warm_up_s", "240", "models.embedder.warm_up_s", "a number"),
    ("name", 1, "name", "with one hyphen"),
    ("limits", {"tenant_rate_per_s": 0.01}, "limits.tenant_rate_per_s", "0.1"),
    ("retain", GONE, "retain", "required"),
    ("regions", [], "regions", "at least 1"),
    ("regions", ["us-east-1", "us-east-2"], "regions", "one region, three, or two and a witness"),
    ("regions", ["us-east-1", "us-east-1", "us-west-2"], "regions", "twice"),
    ("regions", ["us-east-1", "us-east-2", "eu-west-1"], "regions", "eu-central-1, eu-west-1"),
    ("regions", ["cn-north-1"], "regions.0", "like us-east-1"),
    ("witness", "us-west-1", "regions", "one region, three, or two and a witness"),
    ("encryption", "none", "encryption", "'aws-owned' or 'customer-managed'"),
    ("log_retention_days", 8, "log_retention_days", "1, 3, 5, 7, 14, 30, 60, 90, 180 or 365"),
    ("requests_per_5_min_per_address", 50, "requests_per_5_min_per_address", "100"),
    ("requests_per_5_min_per_address", 14999, "requests_per_5_min_per_address", "15000"),
    (
        "colour",
        "red",
        "colour",
        "account, alarms, concurrency, cost_hourly_max_usd, domain, encryption",
    ),
    ("models/chat/fallback", "gpt", "models.chat.fallback", "another model of this deployment: e"),
    ("models/chat/fallback", "chat", "models.chat.fallback", "another model of this deployment"),
    ("models/chat/fallback", "Chat!", "models.chat.fallback", "lower-case letters"),
    ("limits", {"wait_s_max": 26}, "limits.wait_s_max", "25"),
    ("limits", {"deadline_s_max": 100}, "limits.deadline_s_default", "at most deadline_s_max, 100"),
    ("limits", {"wait": 1}, "limits.wait", "deadline_s_default, deadline_s_max, retention_s"),
    ("concurrency", {"beat": 2}, "concurrency.beat", "3"),
    ("domain", {**DOMAIN, "name": "API.example.com"}, "domain.name", "like api.example.com"),
    ("domain", {**DOMAIN, "name": "localhost"}, "domain.name", "like api.example.com"),
    ("domain", {**DOMAIN, "name": f"{'a' * 53}.example.com"}, "domain.name", "64"),
    ("domain", {**DOMAIN, "name": "api.example.org"}, "domain.name", "end with .example.com"),
    ("domain", {**DOMAIN, "name": "myexample.com"}, "domain.name", "end with .example.com"),
    ("domain", {**DOMAIN, "zone_id": "example.com"}, "domain.zone_id", "like Z0123456789ABC"),
    ("domain", {**DOMAIN, "zone_name": "example"}, "domain.zone_name", "like example.com"),
    ("domain", {**DOMAIN, "policy": "weighted"}, "domain.policy", "'latency' or 'failover'"),
    ("domain", {**DOMAIN, "colour": 1}, "domain.colour", "name, policy, zone_id, zone_name"),
    ("domain", {"name": "api.example.com"}, "domain.zone_id", "required"),
    ("tiers/batch", GONE, "tiers", "exactly interactive, standard, batch"),
    ("tiers/urgent", {"target_wait_s": 1, "share_min": 0}, "tiers.urgent", "'interactive'"),
    ("tiers/batch/share_min", 0.4, "tiers", "at most 1"),
    ("tiers/batch/share_min", -0.1, "tiers.batch.share_min", "0"),
    ("tiers/batch/target_wait_s", 30, "tiers", "must not fall"),
    ("tiers/batch/target_wait_s", float("nan"), "tiers.batch.target_wait_s", "finite"),
    ("models", {}, "models", "at least 1"),
    ("models/embedder/state", "paused", "models.embedder.state", "'live', 'draining' or 'off'"),
    ("models/embedder/wanted", "v9", "models.embedder.wanted", "one of v1"),
    ("models/embedder/versions", {}, "models.embedder.versions", "at least 1"),
    ("models/embedder/instances_min", 3, "models.embedder.instances_min", "instances_max, 2"),
    ("models/embedder/instances_max", 501, "models.embedder.instances_max", "500"),
    ("models/embedder/concurrency", 0, "models.embedder.concurrency", "1"),
    ("models/embedder/concurrency", GONE, "models.embedder.concurrency", "required"),
    ("models/embedder/warm_up_s", "soon", "models.embedder.warm_up_s", "a number"),
    ("models/embedder/attempts_max", 11, "models.embedder.attempts_max", "10"),
    ("models/embedder/input_bytes_max", 10**9 + 1, "models.embedder.input_bytes_max", "1000000000"),
    ("models/embedder/request_ttl_s", 59, "models.embedder.request_ttl_s", "60"),
    ("models/embedder/invocation_timeout_s", 3601, "models.embedder.invocation_timeout_s", "3600"),
    (
        "models/embedder/network",
        {"us-east-1": {"subnets": ["subnet-1"], "security_groups": ["sg-1"]}},
        "models.embedder.network",
        "every region or none: us-east-1, us-east-2, us-west-2",
    ),
    (f"{V1}/image", "embedder:1.0.0", "models.embedder.versions.v1.image", "ecr.{region}"),
    (f"{V1}/instance_type", "g5.xlarge", "models.embedder.versions.v1.instance_type", "ml.g5"),
    (f"{V1}/volume_gb", 100, "models.embedder.versions.v1.volume_gb", "disks of its own"),
    (f"{V1}/startup_timeout_s", 30, "models.embedder.versions.v1.startup_timeout_s", "60"),
    (f"{V1}/artifact", {}, "models.embedder.versions.v1.artifact", "exactly one of s3"),
    (
        f"{V1}/artifact",
        {"hub": "owner/model"},
        "models.embedder.versions.v1.artifact.revision",
        "pins both",
    ),
    (
        f"{V1}/artifact",
        {"hub": "owner/model", "revision": "main"},
        "models.embedder.versions.v1.artifact.revision",
        "hash of a commit",
    ),
    (
        f"{V1}/artifact",
        {**HUB, "directory": "examples/embedder"},
        "models.embedder.versions.v1.artifact.directory",
        "goes with s3",
    ),
    (
        f"{V1}/artifact",
        {"s3": "s3://models/embedder/model.tar.gz"},
        "models.embedder.versions.v1.artifact.s3",
        "{region}",
    ),
    (f"{V1}/artifact/path", "x", "models.embedder.versions.v1.artifact.path", "directory, hub"),
    (f"{V1}/environment", {"token": "x"}, "models.embedder.versions.v1.environment", "upper-case"),
    (f"{V1}/secrets", {"TOKEN": "x"}, "models.embedder.versions.v1.secrets.TOKEN", "the ARN"),
]


@pytest.mark.parametrize(("field", "value", "named", "allowed"), REFUSED)
def test_an_error_names_file_field_and_what_is_allowed(
    tmp_path: Path, field: str, value: Any, named: str, allowed: str
) -> None:
    """Whoever edits the configuration learns from the message alone what to write instead."""
    message = refusal(tmp_path, changed(field, value))

    assert message.startswith(named), message
    assert allowed in message


@pytest.mark.parametrize(
    ("field", "value", "given"),
    [
        ("models/embedder/concurrency", 0, "given 0"),
        (f"{V1}/service/input_tokens_per_s", -1, "given -1"),
        ("models/embedder/wanted", "v9", "given 'v9'"),
        ("encryption", "none", "given 'none'"),
        ("regions", ["us-east-1", "us-east-2"], "given ['us-east-1', 'us-east-2']"),
    ],
)
def test_an_error_shows_what_was_given(tmp_path: Path, field: str, value: Any, given: str) -> None:
    """A value that came out of a template or a merge is recognised in the message."""
    assert given in refusal(tmp_path, changed(field, value))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (f"{V1}/secrets", {"HF_TOKEN": "hf_example"}),
        (f"{V1}/environment", {"HF_TOKEN": ["hf_example"]}),
        (f"{V1}/hf_token", "hf_example"),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(
    tmp_path: Path, field: str, value: Any
) -> None:
    """A token written where its address belongs must not reach the log of a pipeline."""
    assert "hf_example" not in refusal(tmp_path, changed(field, value))


def test_a_gate_that_would_outgrow_its_item_is_refused(tmp_path: Path) -> None:
    """Found when the fleet is at its largest, it would stop every dispatcher of the model."""
    document = changed("models/embedder/concurrency", 1000)
    document["models"]["embedder"]["instances_max"] = 9

    said = refusal(tmp_path, document)

    assert "models.embedder.instances_max" in said
    assert "at most 8 with a concurrency of 1000" in said


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """Nobody has to run synthesis once per typing error."""
    document = changed("encryption", "none")
    document["models"]["embedder"]["concurrency"] = 0

    assert len(refusal(tmp_path, document).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is not YAML"),
        ("- a list", "must be a mapping"),
        ("", "must be a mapping"),
        ("name: a-b\nname: a-c\n", "name stands twice"),
        ("models: {chat: {wanted: v1}, chat: {}}", "chat stands twice"),
        ("? [a, b]\n: c\n", "a field's name is a word"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A broken merge does not deploy half of a file, nor the last of two models."""
    assert said in refusal(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A wrong path in a pipeline says which."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml")


def test_two_versions_never_share_an_endpoint(tmp_path: Path) -> None:
    """`a-b` in version `c` and `a` in version `b-c` would be one endpoint's name."""
    document = yaml.safe_load(DEV.read_text())
    version = document["models"]["embedder"]["versions"]["v1"]
    model = {**document["models"]["embedder"], "versions": {"c": version}, "wanted": "c"}
    document["models"]["a-b"] = model
    document["models"]["a"] = {**model, "versions": {"b-c": version}, "wanted": "b-c"}

    message = refusal(tmp_path, document)

    assert "models.a.versions.b-c" in message
    assert "models.a-b.versions.c" in message


@pytest.mark.parametrize("path", [DEV, PROD])
def test_the_functions_read_back_the_policy_that_is_written(path: Path) -> None:
    """What a function decides by is what the configuration says."""
    policy = load(path).policy()

    assert Policy.from_json(policy.to_json()) == policy
    assert tuple(tier.name for tier in policy.tiers) == TIERS


def test_the_ring_of_second_copies_visits_every_region() -> None:
    """Each region's payloads have a second copy, and no region keeps everybody's."""
    dev = load(DEV)

    assert [dev.region_after(region) for region in dev.regions] == [
        "us-east-2",
        "us-west-2",
        "us-east-1",
    ]
    alone = Deployment.model_validate({**yaml.safe_load(DEV.read_text()), "regions": ["us-east-1"]})
    assert alone.region_after("us-east-1") is None


def test_failover_needs_another_region(tmp_path: Path) -> None:
    """A standby that does not exist is found before a night on which it is needed."""
    document = changed("domain", {**DOMAIN, "policy": "failover"})
    assert Deployment.model_validate(document).domain is not None
    document["regions"] = ["us-east-1"]

    message = refusal(tmp_path, document)

    assert message.startswith("domain.policy: must be latency with one region")


def test_every_region_has_a_name_of_its_own() -> None:
    """A region's health must be seen where no other region answers for it."""
    domain = Deployment.model_validate(changed("domain", DOMAIN)).domain

    assert domain is not None
    assert domain.policy == "latency"
    assert domain.of("us-east-2") == "us-east-2.api.example.com"
