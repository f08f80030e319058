"""Presigned links do what was signed, in time, and nothing else, as S3 documents it.

S3 user guide, "Authenticating Requests: Using Query Parameters" (sigv4-query-string-auth.html):
the signature covers method, path, query and the headers that it names; after X-Amz-Expires seconds
it is refused; a header that begins with x-amz- must be signed.
"""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from moto import mock_aws

from lambdas.wiring import SIGNED_LINKS
from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.http import LinkTransport
from spillway.twin.links import Links

BUCKET, KEY = "payloads", "uploads/a/input"


class World:
    """A bucket, somebody who signs, and somebody who has only a link."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(virtual=True)
        self.hook = Hook(self.scheduler)
        self.away: set[str] = set()
        links = Links(
            self.scheduler,
            account="123456789012",
            region_of=lambda bucket: "us-east-1" if bucket == BUCKET else None,
            away=self.away.__contains__,
        )
        self.http = httpx.Client(transport=LinkTransport(self.scheduler, links))
        self.s3 = self.hook.session(region="us-east-1").client("s3", config=SIGNED_LINKS)
        self.s3.create_bucket(Bucket=BUCKET)

    def link(self, operation: str, seconds: int = 3600, **params: Any) -> str:
        """Sign a link, as a function does."""
        asked = {"Bucket": BUCKET, "Key": KEY} | params
        url: str = self.s3.generate_presigned_url(operation, Params=asked, ExpiresIn=seconds)
        return url


@pytest.fixture
def world() -> Iterator[World]:
    """A world on the virtual clock."""
    with mock_aws():
        world = World()
        yield world
        world.hook.close()
        world.scheduler.close()


def test_a_link_writes_and_another_one_reads(world: World) -> None:
    """Else no test of uploads would be one of clients."""
    put = world.link("put_object", ContentLength=4, ContentType="text/csv", IfNoneMatch="*")
    headers = {"Content-Type": "text/csv", "If-None-Match": "*"}

    assert world.http.put(put, content=b"a,b\n", headers=headers).status_code == 200
    assert world.http.put(put, content=b"c,d\n", headers=headers).status_code == 412
    read = world.http.get(world.link("get_object"))
    assert (read.status_code, read.content) == (200, b"a,b\n")
    assert read.headers["content-type"] == "text/csv"


def test_a_link_expires(world: World) -> None:
    """Whoever finds an old link in a log must find nothing behind it."""
    world.s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"result")
    link = world.link("get_object", 3600)
    world.scheduler.run_for(3599)
    assert world.http.get(link).status_code == 200
    world.scheduler.run_for(1)

    late = world.http.get(link)

    assert late.status_code == 403
    assert "Request has expired" in late.text


@pytest.mark.parametrize(
    "changed",
    [
        lambda url: url.replace(KEY, "uploads/b/input"),
        lambda url: url.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000"),
        lambda url: url.replace("payloads.", "others."),
        lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
        lambda url: url.partition("?")[0],
        lambda url: url.replace("X-Amz-Date", "X-Amz-Day"),
    ],
    ids=["key", "expiry", "bucket", "signature", "nothing", "parameter"],
)
def test_a_link_that_was_changed_opens_nothing(world: World, changed: Callable[[str], str]) -> None:
    """A link to one result must not become one to another tenant's."""
    world.s3.put_object(Bucket=BUCKET, Key="uploads/b/input", Body=b"another's")

    answer = world.http.get(changed(world.link("get_object")))

    assert answer.status_code in {400, 403}
    assert b"another" not in answer.content


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"larger", {}),
        (b"abc", {}),
        (b"abcd", {"Content-Type": "text/html"}),
        (b"abcd", {"If-None-Match": ""}),
        (b"abcd", {"x-amz-acl": "public-read"}),
    ],
)
def test_what_was_signed_is_what_is_sent(
    world: World, content: bytes, headers: dict[str, str]
) -> None:
    """A link for four bytes of JSON must not take a gigabyte, or make an object public."""
    put = world.link("put_object", ContentLength=4, ContentType="text/csv", IfNoneMatch="*")
    sent = {"Content-Type": "text/csv", "If-None-Match": "*"} | headers

    assert world.http.put(put, content=content, headers=sent).status_code == 403
    assert world.http.get(put).status_code == 403, "it is a link to write"


def test_a_key_beside_a_link_is_one_too_many(world: World) -> None:
    """S3 refuses it: a client that sends its API key along would fail on AWS alone."""
    answer = world.http.get(world.link("get_object"), headers={"Authorization": "Bearer sk"})

    assert answer.status_code == 400
    assert "Only one auth mechanism allowed" in answer.text


def test_a_link_into_a_region_that_is_away_does_not_connect(world: World) -> None:
    """Results of a lost region cannot be fetched, and clients must see that as such."""
    link = world.link("get_object")
    world.away.add("us-east-1")

    with pytest.raises(httpx.ConnectTimeout):
        world.http.get(link)


def test_parts_are_written_through_links(world: World) -> None:
    """Large inputs go so."""
    begun = world.s3.create_multipart_upload(Bucket=BUCKET, Key=KEY)
    parts = []
    for number, content in ((1, b"a" * 5_242_880), (2, b"b")):
        link = world.link(
            "upload_part",
            UploadId=begun["UploadId"],
            PartNumber=number,
            ContentLength=len(content),
        )
        answer = world.http.put(link, content=content)
        assert answer.status_code == 200
        parts.append({"PartNumber": number, "ETag": answer.headers["etag"]})
    world.s3.complete_multipart_upload(
        Bucket=BUCKET, Key=KEY, UploadId=begun["UploadId"], MultipartUpload={"Parts": parts}
    )

    assert world.s3.head_object(Bucket=BUCKET, Key=KEY)["ContentLength"] == 5_242_881


def test_a_link_can_lead_to_this_machine(world: World) -> None:
    """A client of `make local` has no way to amazonaws.com, and nothing of ours is there."""
    world.hook.links_url = "http://127.0.0.1:1"

    link = world.link("get_object")

    assert link.startswith(f"http://127.0.0.1:1/{BUCKET}.s3.us-east-1.amazonaws.com/{KEY}?")
