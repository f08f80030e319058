"""The payload buckets."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lambdas.adapters.payloads import Payloads, Result
from lambdas.domain.names import Names

REGIONS = ("us-east-1", "us-east-2", "us-west-2")
NAMES = Names("t", "123456789012")


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """S3 with the buckets of three regions."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    make: Any = boto3.client
    client_in = cache(lambda region: make("s3", region_name=region))
    with mock_aws():
        for region in REGIONS:
            place = {} if region == "us-east-1" else {"LocationConstraint": region}
            options = {"CreateBucketConfiguration": place} if place else {}
            for bucket in (NAMES.bucket(region), NAMES.replica_bucket(region)):
                client_in(region).create_bucket(Bucket=bucket, **options)
        yield client_in


def store(clients: Any, region: str, regions: tuple[str, ...] = REGIONS) -> Payloads:
    """The buckets as a region uses them."""
    return Payloads(clients, NAMES, region, regions)


def buckets_with(clients: Any, key: str) -> set[str]:
    """Every bucket that holds an object of that name."""
    found = set()
    for region in REGIONS:
        for bucket in (NAMES.bucket(region), NAMES.replica_bucket(region)):
            listed = clients(region).list_objects_v2(Bucket=bucket, Prefix=key)
            if listed["KeyCount"]:
                found.add(bucket)
    return found


@pytest.mark.parametrize(
    ("region", "second"),
    [("us-east-1", "us-east-2"), ("us-east-2", "us-west-2"), ("us-west-2", "us-east-1")],
)
def test_an_input_lies_in_its_region_and_the_next(clients: Any, region: str, second: str) -> None:
    """With both copies in one region, its loss is the loss of the job."""
    store(clients, region).keep_input("inputs/a/1.json", b'"x"', region=region)

    assert buckets_with(clients, "inputs/a/1.json") == {
        NAMES.bucket(region),
        NAMES.replica_bucket(second),
    }


def test_the_second_copy_goes_to_the_next_region_that_is_there(clients: Any) -> None:
    """Else the region before a lost one would take no large input while that lasts."""
    payloads = store(clients, "us-east-1")
    copied = payloads.keep_input("inputs/a/1.json", b'"x"', region="us-east-1", lost={"us-east-2"})

    assert copied == "us-west-2"
    replica = NAMES.replica_bucket("us-west-2")
    assert buckets_with(clients, "inputs/a/1.json") == {NAMES.bucket("us-east-1"), replica}
    there = store(clients, "us-west-2")
    address = there.location("inputs/a/1.json", stored="us-east-1", copied=copied)
    assert address == f"s3://{replica}/inputs/a/1.json"
    brought = store(clients, "us-east-2").location(
        "inputs/a/1.json", stored="us-east-1", copied=copied
    )
    assert brought == f"s3://{NAMES.bucket('us-east-2')}/inputs/a/1.json"


def test_a_region_that_does_not_answer_leaves_the_copy_to_another(clients: Any) -> None:
    """It takes half a minute until it is known to be lost."""
    clients("us-east-2").delete_bucket(Bucket=NAMES.replica_bucket("us-east-2"))

    assert store(clients, "us-east-1").keep_input("a", b"1", region="us-east-1") == "us-west-2"


def test_one_copy_has_to_do_when_all_others_are_lost(clients: Any) -> None:
    """The last region that is left is of no use if it refuses; one that only fails is not lost."""
    payloads = store(clients, "us-east-1")
    others = ("us-east-2", "us-west-2")
    assert payloads.keep_input("a", b"1", region="us-east-1", lost=others) == "us-east-1"
    assert payloads.location("a", stored="us-east-1", copied="us-east-1").endswith("payloads/a")

    for region in others:
        clients(region).delete_bucket(Bucket=NAMES.replica_bucket(region))
    with pytest.raises(clients("us-east-1").exceptions.ClientError, match="NoSuchBucket"):
        payloads.keep_input("b", b"1", region="us-east-1")


def test_a_deployment_of_one_region_keeps_one_copy(clients: Any) -> None:
    """There is no bucket for a second one, and asking for it would refuse every large job."""
    alone = store(clients, "us-east-1", ("us-east-1",))
    alone.keep_input("inputs/a/1.json", b'"x"', region="us-east-1")

    assert buckets_with(clients, "inputs/a/1.json") == {NAMES.bucket("us-east-1")}
    alone.erase_input("inputs/a/1.json", stored="us-east-1")
    assert not buckets_with(clients, "inputs/a/1.json")


def test_erasing_reaches_an_input_that_a_failed_request_left_elsewhere(clients: Any) -> None:
    """The client sent it to a region that refused, then to another: it knows of one job only."""
    store(clients, "us-east-1").keep_input("inputs/a/1.json", b'"x"', region="us-east-1")
    store(clients, "us-west-2").keep_input("inputs/a/1.json", b'"x"', region="us-west-2")

    store(clients, "us-west-2").erase_input("inputs/a/1.json", stored="us-west-2")

    assert not buckets_with(clients, "inputs/a/1.json")


def test_erasing_does_not_fail_for_a_place_that_never_had_the_input(clients: Any) -> None:
    """A region that is away would refuse every DELETE."""
    payloads = store(clients, "us-east-1", (*REGIONS, "eu-west-1"))
    payloads.keep_input("inputs/a/1.json", b'"x"', region="us-east-1")

    payloads.erase_input("inputs/a/1.json", stored="us-east-1")

    assert not buckets_with(clients, "inputs/a/1.json")


def test_an_input_can_be_erased_from_any_region(clients: Any) -> None:
    """The client's DELETE arrives where its client is, not where the job was accepted."""
    store(clients, "us-east-1").keep_input("inputs/a/1.json", b'"x"', region="us-east-1")

    store(clients, "us-west-2").erase_input("inputs/a/1.json", stored="us-east-1")

    assert not buckets_with(clients, "inputs/a/1.json")


def test_erasing_what_is_not_there_is_no_error(clients: Any) -> None:
    """An erasure that was cut short is repeated from its beginning."""
    payloads = store(clients, "us-east-1")
    payloads.erase_input("inputs/a/1.json", stored="us-east-2")
    payloads.erase_results([], region="us-east-1")
    payloads.erase_results(["results/m/v/a/1.json", "results/m/v/a/2.json"], region="us-east-2")


def test_results_are_erased_where_they_are(clients: Any) -> None:
    """A result that stays readable was not erased."""
    key = "results/m/v1/job_a/1.json"
    clients("us-east-2").put_object(Bucket=NAMES.bucket("us-east-2"), Key=key, Body=b"1")

    store(clients, "us-east-1").erase_results([key], region="us-east-2")

    assert not buckets_with(clients, key)


def test_a_result_that_is_not_there_is_told_apart_from_a_failure(clients: Any) -> None:
    """Sweep retries a job without a result; it must not do so because S3 was away."""
    payloads = store(clients, "us-east-1")
    key = "results/m/v1/job_a/1.json"
    assert payloads.find_result(key, bytes_max=9) is None

    clients("us-east-1").put_object(Bucket=NAMES.bucket("us-east-1"), Key=key, Body=b"1")
    assert payloads.find_result(key, bytes_max=1) == Result(b"1", 1)
    assert payloads.result(key, bytes_max=0) == Result(None, 1), "it is too large to be read"

    gone = Payloads(clients, Names("other", "123456789012"), "us-east-1", REGIONS)
    with pytest.raises(clients("us-east-1").exceptions.ClientError, match="NoSuchBucket"):
        gone.find_result(key, bytes_max=9)


def test_an_input_has_the_address_that_the_endpoint_reads(clients: Any) -> None:
    """A wrong address fails every attempt of every large job."""
    payloads = store(clients, "us-east-1")
    payloads.keep_input("inputs/a/1.json", b'"x"', region="us-east-1")

    address = payloads.location("inputs/a/1.json", stored="us-east-1")

    assert address == f"s3://{NAMES.bucket('us-east-1')}/inputs/a/1.json"
