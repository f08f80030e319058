"""Uploads in S3: where an endpoint reads them, whichever regions are there."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lambdas.adapters.uploads import SilentError, UploadBuckets
from lambdas.domain.names import Names

REGIONS = ("us-east-1", "us-east-2", "us-west-2")
NAMES = Names("t", "123456789012")
HOME, NEXT, THIRD = REGIONS
KEY = "uploads/a/upload_us-east-1_b/input"


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


def store(clients: Any, region: str) -> UploadBuckets:
    """The buckets as a region uses them."""
    return UploadBuckets(clients, clients, NAMES, region, REGIONS)


def put(clients: Any, region: str, bucket: str) -> None:
    """Write the upload to a bucket."""
    clients(region).put_object(Bucket=bucket, Key=KEY, Body=b"input")


def test_an_endpoint_reads_the_copy_of_its_own_region(clients: Any) -> None:
    """SageMaker refuses an input of another region, at every attempt."""
    put(clients, HOME, NAMES.bucket(HOME))
    put(clients, THIRD, NAMES.replica_bucket(THIRD))

    places = [store(clients, region).location(KEY, home=HOME) for region in (HOME, THIRD)]

    assert places == [
        f"s3://{NAMES.bucket(HOME)}/{KEY}",
        f"s3://{NAMES.replica_bucket(THIRD)}/{KEY}",
    ]


def test_a_copy_is_brought_from_whichever_region_has_one(clients: Any) -> None:
    """A region that was away when the upload came may get its job once the upload's own is lost."""
    put(clients, NEXT, NAMES.replica_bucket(NEXT))
    there = store(clients, THIRD)
    assert there.location(KEY, home=HOME) is None

    source = there.source(KEY, home=HOME, silent=set())
    assert source == NAMES.replica_bucket(NEXT)
    for _ in range(2):
        there.bring(KEY, source=source)

    # Under a prefix that is replicated no further.
    assert there.location(KEY, home=HOME) == f"s3://{NAMES.bucket(THIRD)}/inputs/{KEY}"
    found = clients(THIRD).get_object(Bucket=NAMES.bucket(THIRD), Key=f"inputs/{KEY}")
    assert found["Body"].read() == b"input"


@pytest.mark.parametrize("region", REGIONS)
def test_an_upload_that_is_gone_is_told_from_one_that_may_come(clients: Any, region: str) -> None:
    """A job whose input may come waits; a job whose input cannot come ends."""
    here = store(clients, region)

    assert here.location(KEY, home=HOME) is None
    assert here.source(KEY, home=HOME, silent=set()) is None


@pytest.mark.parametrize("region", [NEXT, THIRD])
def test_a_region_that_gives_no_answer_is_asked_once(clients: Any, region: str) -> None:
    """Each time-out is seconds of a round that has fifteen for ten jobs."""
    asked: list[str] = []

    class Away:
        def head_object(self, **_: Any) -> Any:
            asked.append(HOME)
            clients(HOME).get_object(Bucket="no-such-bucket-of-ours", Key=KEY)

    some: Any = lambda place: Away() if place == HOME else clients(place)  # noqa: E731 one line
    here, silent = UploadBuckets(some, clients, NAMES, region, REGIONS), set[str]()
    for _ in range(2):
        with pytest.raises(SilentError):
            here.source(KEY, home=HOME, silent=silent)

    assert (asked, silent) == ([HOME], {HOME})
    (other,) = {NEXT, THIRD} - {region}
    put(clients, other, NAMES.replica_bucket(other))
    assert here.source(KEY, home=HOME, silent=silent) == NAMES.replica_bucket(other)


def test_copies_are_told_apart_from_regions_that_do_not_answer(clients: Any) -> None:
    """A region that is away must not look like one whose copy is on its way."""
    put(clients, HOME, NAMES.bucket(HOME))
    put(clients, NEXT, NAMES.replica_bucket(NEXT))
    here = store(clients, HOME)
    assert here.copies(KEY, home=HOME) == ({NEXT}, set())

    class Away:
        def head_object(self, **_: Any) -> Any:
            clients(THIRD).get_object(Bucket="no-such-bucket-of-ours", Key=KEY)

    away: Any = Away()
    some: Any = lambda region: away if region == THIRD else clients(region)  # noqa: E731 one line
    silent = UploadBuckets(some, clients, NAMES, HOME, REGIONS)
    assert silent.copies(KEY, home=HOME) == ({NEXT}, {THIRD})
    assert silent.copies(KEY, home=HOME, lost={THIRD}) == ({NEXT}, set())
