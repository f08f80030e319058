"""Every promise of the client is kept by both of its kinds."""

import pytest

from tests.client.fake_service import FakeService, Kind, asynchronous, blocking


@pytest.fixture
def service() -> FakeService:
    """A service whose jobs end at once."""
    return FakeService()


@pytest.fixture(params=[blocking, asynchronous])
def kind(request: pytest.FixtureRequest) -> Kind:
    """How to make a client: the blocking one, then the asynchronous one."""
    made: Kind = request.param
    return made
