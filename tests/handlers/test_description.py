"""The API's description, as a client gets it."""

from tests.handlers.region import Region

ROUTE = "GET /v1/openapi.json"


def described(region: Region, text: str = '{"openapi":"3.1.1"}\n') -> None:
    """Put a description beside the code, as the asset does."""
    (region.tmp_path / "lambdas" / "openapi.json").write_text(text)


def test_the_description_is_told_without_a_key_and_without_a_call(region: Region) -> None:
    """Whoever makes a client of it has no key yet, and nobody may cost us reads with it."""
    described(region)

    reply = region.ask(ROUTE, tenant=None)

    assert (reply.status, reply.json) == (200, {"openapi": "3.1.1"})
    assert reply.headers["Cache-Control"] == "public, max-age=3600"
    assert region.operations() == []


def test_a_client_that_has_it_is_told_so(region: Region) -> None:
    """A page that is opened again need not fetch it again."""
    described(region)
    tag = region.ask(ROUTE, tenant=None).headers["ETag"]

    for known in (tag, f'"other", W/{tag}', "*"):
        reply = region.ask(ROUTE, tenant=None, headers={"If-None-Match": known})
        assert (reply.status, reply.text, reply.headers["ETag"]) == (304, "", tag)
    assert region.ask(ROUTE, tenant=None, headers={"If-None-Match": '"other"'}).status == 200


def test_a_new_deployment_has_a_tag_of_its_own(region: Region) -> None:
    """A client that kept the old one must get the new one."""
    described(region)
    before = region.ask(ROUTE, tenant=None).headers["ETag"]
    described(region, '{"openapi":"3.2.0"}\n')

    # The environment that is there read it once, and goes on with what it read.
    assert region.ask(ROUTE, tenant=None).headers["ETag"] == before
    region.forget_environments()
    assert region.ask(ROUTE, tenant=None).headers["ETag"] != before
