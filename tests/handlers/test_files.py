"""submit: keeping files and giving them back."""

import re
from typing import Any

import httpx
import pytest
import requests

from lambdas.domain.files import created_ms_of, file_id
from tests.handlers.region import HERE, LEASE, NEXT, START_S, THIRD, Region, Reply, error
from tests.handlers.uploading import begin, put, ready

BODY = b'{"custom_id": "a"}\n'


def upload(
    region: Region,
    body: bytes = BODY,
    *,
    name: str = "in.jsonl",
    tenant: str = "acme",
    **fields: Any,
) -> Reply:
    """Bring a file as OpenAI's client does."""
    request = httpx.Request(
        "POST", "http://x", data={"purpose": "batch", **fields}, files={"file": (name, body)}
    )
    return region.ask(
        "POST /v1/files",
        raw=request.read(),
        headers={"Content-Type": request.headers["content-type"]},
        tenant=tenant,
    )


def uploaded(region: Region, body: bytes = BODY, **options: Any) -> str:
    """Bring a file that must be taken; its id."""
    reply = upload(region, body, **options)
    assert reply.status == 200, reply.text
    return str(reply.json["id"])


def content(region: Region, file: str, **options: Any) -> Reply:
    """Ask for a file's bytes that come in the answer."""
    return region.ask(
        "GET /v1/files/{id}/content", job=file, content_type="application/octet-stream", **options
    )


def test_a_file_comes_back_as_it_was_in_every_region(region: Region) -> None:
    """A batch whose input is not what its client wrote computes something else."""
    reply = upload(region, 'ä "quoted"\r\n'.encode(), name="ä.jsonl")

    assert reply.json == {
        "id": reply.json["id"],
        "object": "file",
        "bytes": 13,
        "created_at": START_S,
        "expires_at": START_S + region.policy.retention_s,
        "filename": "ä.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    for place in (region, region.elsewhere(NEXT)):
        assert place.ask("GET /v1/files/{id}", job=reply.json["id"]).json == reply.json
        assert content(place, reply.json["id"]).text == 'ä "quoted"\r\n'


def test_a_file_that_is_accepted_is_in_two_regions(region: Region) -> None:
    """Its region may be lost a second later."""
    file = uploaded(region)

    assert sorted(region.objects()) == sorted(
        [
            (region.names.bucket(HERE), f"files/{file}"),
            (region.names.replica_bucket(NEXT), f"files/{file}"),
        ]
    )
    region.faults["GetObject#1"] = lambda: (_ for _ in ()).throw(error("503", "GetObject"))
    assert content(region, file).text == BODY.decode()


def test_a_file_skips_a_lost_region(region: Region) -> None:
    """No upload waits for a region that is not there."""
    region.see(peers={NEXT: {"state": "lost"}}, lease=LEASE)

    file = uploaded(region)

    assert (region.names.replica_bucket(THIRD), f"files/{file}") in region.objects()


def test_a_file_that_was_not_kept_twice_is_not_accepted(region: Region) -> None:
    """An id is a promise."""
    region.faults["PutItem"] = lambda: (_ for _ in ()).throw(
        error("InternalServerError", "PutItem")
    )
    assert upload(region).status == 503

    region.faults = {}
    assert region.ask("GET /v1/files").json["data"] == []


def test_a_large_file_is_a_link(region: Region) -> None:
    """An answer of a function has its limit; ordinary clients follow."""
    for body in (b'"' * 3_000_000, b"\xff\xfe binary", b"x" * 3_999_000):
        file = uploaded(region, body)
        if body.startswith(b"x"):
            assert content(region, file).text == body.decode()
            continue
        reply = region.ask("GET /v1/files/{id}/content", job=file)
        assert reply.status == 303
        link = reply.headers["Location"]
        assert re.fullmatch(r"https://[^/]*payloads[^/]*/files/file-.*", link.partition("?")[0])
        assert requests.get(link, timeout=5).content == body


def test_an_erased_file_is_gone(region: Region) -> None:
    """Whoever erases a file means its bytes, wherever they are."""
    file = uploaded(region)

    reply = region.ask("DELETE /v1/files/{id}", job=file)

    assert reply.json == {"id": file, "object": "file", "deleted": True}
    assert region.objects() == []
    for route in ("GET /v1/files/{id}", "GET /v1/files/{id}/content", "DELETE /v1/files/{id}"):
        assert region.ask(route, job=file).error["code"] == "file_not_found"
    assert region.ask("GET /v1/files").json["data"] == []


def test_an_erasure_that_was_cut_short_is_done_by_asking_again(region: Region) -> None:
    """A record without bytes is better than bytes that nobody can find."""
    file = uploaded(region)
    region.faults["DeleteObject#1"] = lambda: (_ for _ in ()).throw(error("503", "DeleteObject"))
    assert region.ask("DELETE /v1/files/{id}", job=file).status == 503

    region.faults = {}
    assert region.ask("DELETE /v1/files/{id}", job=file).status == 200
    assert region.objects() == []


@pytest.mark.parametrize(
    "route", ["GET /v1/files/{id}", "GET /v1/files/{id}/content", "DELETE /v1/files/{id}"]
)
@pytest.mark.parametrize("identity", ["file-" + "a" * 26, "file-x", "job_" + "a" * 26, "x" * 2000])
def test_another_tenants_file_looks_like_none(region: Region, route: str, identity: str) -> None:
    """Whoever can tell the two apart can count another tenant's files."""
    file = uploaded(region)

    strange = region.ask(route, job=file, tenant="rival")

    assert (strange.status, strange.text) == (404, region.ask(route, job=identity).text)
    assert content(region, file).text == BODY.decode()


def test_an_expired_file_is_not_there(region: Region) -> None:
    """`expires_at` is what its owner asked for."""
    kept: Any = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = uploaded(region, **kept)
    assert region.ask("GET /v1/files/{id}", job=file).json["expires_at"] == START_S + 3600

    region.sleep(3600)

    assert region.ask("GET /v1/files/{id}", job=file).status == 404
    assert region.ask("GET /v1/files").json["data"] == []


def test_files_are_listed_page_by_page_in_both_orders(region: Region) -> None:
    """OpenAI's client goes on with the last one's id, also when it has deleted that one."""
    files = []
    for _ in range(5):
        files.append(uploaded(region))
        region.sleep(1)
    uploaded(region, tenant="rival")

    def pages(order: str, limit: int) -> list[list[str]]:
        found: list[list[str]] = []
        query = {"order": order, "limit": str(limit)}
        for _ in range(6):
            page = region.ask("GET /v1/files", query=query).json
            found.append([each["id"] for each in page["data"]])
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
        return found

    assert pages("asc", 2) == [files[:2], files[2:4], files[4:]]
    assert pages("desc", 2) == [files[:2:-1], files[2:0:-1], files[:1]]
    assert pages("desc", 10_000) == [files[::-1]]

    region.ask("DELETE /v1/files/{id}", job=files[1])
    after = region.ask("GET /v1/files", query={"order": "asc", "after": files[1]}).json
    assert [each["id"] for each in after["data"]] == files[2:]
    for purpose, count in (("batch", 4), ("batch_output", 0), ("vision", 0)):
        listed = region.ask("GET /v1/files", query={"purpose": purpose}).json
        assert (len(listed["data"]), listed["has_more"]) == (count, False)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "10001"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "job_x"}, "after"),
    ],
)
def test_a_wrong_query_is_a_400(region: Region, query: dict[str, str], param: str) -> None:
    """Silence would be the first page again, for ever."""
    reply = region.ask("GET /v1/files", query=query)
    assert (reply.status, reply.error["param"]) == (400, param)


@pytest.mark.parametrize(
    ("options", "status", "param"),
    [
        ({"purpose": "fine-tune"}, 400, "purpose"),
        ({"purpose": ""}, 400, "purpose"),
        ({"colour": "red"}, 400, "colour"),
        ({"name": "x" * 256}, 400, "file"),
        ({"body": b""}, 400, "file"),
        ({"body": b"x" * 4_000_001}, 413, "file"),
        ({"expires_after[seconds]": "3600"}, 400, "expires_after"),
        ({"expires_after[anchor]": "created_at"}, 400, "expires_after"),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "-1"},
            400,
            "expires_after",
        ),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            400,
            "expires_after",
        ),
    ],
)
def test_a_wrong_form_is_refused_and_leaves_nothing(
    region: Region, options: dict[str, Any], status: int, param: str
) -> None:
    """What was wrong is told, and nothing is kept."""
    reply = upload(region, **options)

    assert (reply.status, reply.error["param"]) == (status, param)
    assert region.objects() == []


def test_a_body_that_is_no_form_is_a_400(region: Region) -> None:
    """OpenAI's route takes nothing else."""
    reply = region.ask("POST /v1/files", body={"file": "x", "purpose": "batch"})
    assert (reply.status, reply.error["param"]) == (400, "Content-Type")


def of_upload(region: Region, **body: Any) -> Reply:
    """Ask for a file of an upload."""
    return region.ask(
        "POST /v1/files", body=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )


def test_an_upload_becomes_a_file_of_any_size_that_a_batch_takes(region: Region) -> None:
    """Fifty thousand requests are more than fit into one."""
    upload = ready(region, BODY)

    reply = of_upload(region, upload_id=upload, purpose="batch", filename="big.jsonl")
    again = of_upload(region, upload_id=upload, purpose="batch", filename="big.jsonl")

    assert reply.status == 200, reply.text
    assert (reply.json["bytes"], reply.json["filename"]) == (len(BODY), "big.jsonl")
    assert again.json == reply.json
    file = reply.json["id"]
    for place in (region, region.elsewhere(THIRD)):
        assert content(place, file).text == BODY.decode()
    assert region.ask("DELETE /v1/files/{id}", job=file).status == 200
    assert not [key for _, key in region.objects() if key.endswith("/input")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"purpose": "batch"}, "upload_id"),
        ({"upload_id": "x"}, "purpose"),
        ({"upload_id": "x", "purpose": "batch"}, "upload_id"),
        ({"upload_id": "x", "purpose": "vision"}, "purpose"),
        ({"upload_id": "x", "purpose": "batch", "filename": "a\nb"}, "filename"),
        ({"upload_id": "x", "purpose": "batch", "colour": "red"}, "colour"),
    ],
)
def test_what_is_no_upload_is_a_400(region: Region, body: dict[str, str], param: str) -> None:
    """What was wrong is told."""
    reply = of_upload(region, **body)
    assert (reply.status, reply.error["param"]) == (400, param)


def test_an_upload_that_is_not_there_yet_is_waited_for(region: Region) -> None:
    """A file that is accepted outlives its region."""
    upload = begin(region, len(BODY))
    waiting = of_upload(region, upload_id=upload["id"], purpose="batch")
    put(upload["url"], BODY, upload["headers"])
    alone = of_upload(region, upload_id=upload["id"], purpose="batch")

    assert (waiting.status, waiting.error["code"]) == (409, "upload_incomplete")
    assert (alone.status, alone.error["code"]) == (429, "upload_not_ready")


def test_ids_begin_with_their_time() -> None:
    """A list goes on after a file that is no longer there."""
    for at_ms in (0, START_S * 1000 + 123, 2**45 - 1):
        assert created_ms_of(file_id(at_ms, b"x" * 16)) == at_ms
    with pytest.raises(ValueError, match="16 random bytes"):
        file_id(0, b"x")


def test_a_list_goes_on_behind_files_that_have_expired(region: Region) -> None:
    """OpenAI's client ends at a page that is empty, or says that it is the last one."""
    short = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    kept = []
    wanted: list[dict[str, Any]] = [{}, {}, short, {}, short, short, short]
    for fields in wanted:
        identity = str(upload(region, **fields).json["id"])
        kept += [] if fields else [identity]
        region.sleep(1)
    region.sleep(3600)

    found, query = [], {"limit": "2"}
    for _ in range(4):
        page = region.ask("GET /v1/files", query=query).json
        found += [each["id"] for each in page["data"]]
        if not page["has_more"] or not page["data"]:
            break
        query["after"] = page["last_id"]
    assert found == kept[::-1]
