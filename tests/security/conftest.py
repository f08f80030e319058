"""The real handlers, as tests/handlers has them."""

from tests.handlers.conftest import region

__all__ = ["region"]
