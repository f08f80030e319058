"""What people run: the command line, the client, the twin and the test fixture.

`from spillway import Client` is all that an application needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spillway.client import AsyncClient, Client, Job, Retries, ServiceError, Zone

__all__ = ["AsyncClient", "Client", "Job", "Retries", "ServiceError", "Zone"]


def __getattr__(name: str) -> Any:
    """Load the client when it is first asked for: commands and functions need not pay for it."""
    if name in __all__:
        return getattr(import_module("spillway.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
