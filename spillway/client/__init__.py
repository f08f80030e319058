"""The Python client: jobs, tiers and capacity over HTTP, with retries that are safe.

    from spillway import Client

    with Client("https://api.example.com", key="sk-spillway-…") as client:
        job = client.run("embedder", {"input": "hello"}, tier="interactive", timeout_s=60)

`calls` decides what to do next, without doing it; `blocking` and `asynchronous` do it.
"""

from spillway.client.asynchronous import AsyncClient
from spillway.client.blocking import Client
from spillway.client.calls import Options, OptionsOfMany
from spillway.client.errors import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    JobFailedError,
    JobUnfinishedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServiceError,
    UnavailableError,
)
from spillway.client.regional import RegionalApi
from spillway.client.retries import Retries
from spillway.client.views import (
    Deliveries,
    Delivery,
    Feedback,
    Job,
    JobFailure,
    Model,
    ModelCapacity,
    Place,
    Tier,
    TierWait,
    Timings,
    Upload,
    Usage,
)
from spillway.client.zones import Zone

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConflictError",
    "Deliveries",
    "Delivery",
    "Feedback",
    "Job",
    "JobFailedError",
    "JobFailure",
    "JobUnfinishedError",
    "Model",
    "ModelCapacity",
    "NotFoundError",
    "Options",
    "OptionsOfMany",
    "PermissionDeniedError",
    "Place",
    "RateLimitError",
    "RegionalApi",
    "Retries",
    "ServiceError",
    "Tier",
    "TierWait",
    "Timings",
    "UnavailableError",
    "Upload",
    "Usage",
    "Zone",
]
