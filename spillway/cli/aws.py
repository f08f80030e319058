"""How operators' commands reach AWS, and what its refusals mean.

What they read and write lies in global tables: a region that is lost is passed over, and the next
one's copy is asked.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError

from spillway.cli.terminal import Code, CommandError, progress_console, usage

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.service_resource import Table

Done = TypeVar("Done")


def _endpoint(url: str | None) -> str | None:
    """Refuse what is no address before botocore does, which names no option."""
    if url and not re.match(r"https?://[^/\s]", url):
        raise typer.BadParameter("an endpoint begins with http:// or https:// and a host's name")
    return url


EndpointUrl = Annotated[
    str | None,
    typer.Option(
        envvar="AWS_ENDPOINT_URL",
        help="Where AWS is: the twin's endpoint, or AWS without it.",
        callback=_endpoint,
    ),
]
DENIED = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)
THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
CONTROL_VARIABLE: Final = "SPILLWAY_CONTROL_URL"
# A region that is lost takes five seconds of an operator's night, not a minute.
ATTEMPTS: Final = 2
CONNECT_TIMEOUT_S: Final = 2
READ_TIMEOUT_S: Final = 5


@dataclass(frozen=True, slots=True)
class Replica:
    """One region's copy of a global table."""

    region: str
    name: str
    endpoint_url: str | None

    def client(self) -> "DynamoDBClient":
        """DynamoDB there."""
        client: DynamoDBClient = self.service("dynamodb")
        return client

    def service(self, name: str) -> Any:
        """A client of any of AWS's services there."""
        import boto3  # noqa: PLC0415 a third of a second that other commands need not wait

        # Not boto3's own default session, which remembers the credentials that it saw first.
        session: Any = boto3.Session()
        return session.client(name, **self._options())

    def table(self) -> "Table":
        """The table there."""
        import boto3  # noqa: PLC0415

        return boto3.Session().resource("dynamodb", **self._options()).Table(self.name)

    def _options(self) -> dict[str, Any]:
        from botocore.config import Config  # noqa: PLC0415

        settings = Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
        )
        return {
            "region_name": self.region,
            "endpoint_url": self.endpoint_url or None,
            "config": settings,
        }


def at_a_replica(
    name: str,
    regions: Sequence[str],
    endpoint_url: str | None,
    act: Callable[[Replica], Done],
    *,
    missing_code: str,
    tell: Callable[[str], object] | None = None,
) -> Done:
    """Do something through the first copy of a global table that answers.

    Args:
        name: The table's.
        regions: Where it is, the first choice first.
        endpoint_url: Where AWS is, if it is the twin.
        act: What to do. It begins anew at the next region if one stops answering halfway, so it
            must not matter if half of it was done before.
        missing_code: The machine-readable code if there is no such table.
        tell: Hears that another region had to be asked; without it, the terminal does.

    Returns:
        What `act` does.

    Raises:
        CommandError: AWS refused, or no region answers.
    """
    gone: dict[str, str] = {}
    for region in regions:
        try:
            with aws_errors(region, name, code=missing_code):
                done = act(Replica(region, name, endpoint_url))
        except CommandError as error:
            if not _is_gone(error.__cause__):
                raise
            gone[region] = str(error)
            continue
        if gone:
            (tell or _print)(
                f"{', '.join(gone)} did not answer: asked {region} instead, whose changes get "
                "there once it is back"
            )
        return done
    told = "; ".join(f"{region}: {reason}" for region, reason in gone.items())
    raise CommandError(
        f"the table {name} answers in no region ({told}); check the network and "
        f"AWS_ENDPOINT_URL, or try again when one of {', '.join(gone)} is back",
        exit_code=Code.UNREACHABLE,
        code="unreachable",
    )


def _print(text: str) -> None:
    progress_console().print(text, highlight=False, soft_wrap=True)


def only_where_meant(endpoint_url: str | None, control_url: str | None = None) -> None:
    """Refuse to go to an AWS account while the rest of the shell points to the twin.

    Raises:
        CommandError: A control port is known, and no endpoint.
    """
    if not endpoint_url and (control_url or os.environ.get(CONTROL_VARIABLE)):
        raise usage(
            "AWS_ENDPOINT_URL is missing: with SPILLWAY_CONTROL_URL alone this would go to an AWS "
            "account. Export it as `spillway local` prints it or give --endpoint-url; for AWS, "
            "unset SPILLWAY_CONTROL_URL"
        )


def _is_gone(error: BaseException | None) -> bool:
    """Whether an error says that a region's table does not work now, rather than no."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= HTTPStatus.INTERNAL_SERVER_ERROR or _code(error) in THROTTLED
    return isinstance(error, AwsConnectionError | HTTPClientError)


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


@contextmanager
def aws_errors(region: str, table: str, *, code: str) -> Iterator[None]:
    """Turn what AWS refuses into a sentence.

    Args:
        region: Where the table is looked for.
        table: Its name.
        code: The machine-readable code if it is not there.
    """
    try:
        yield
    except ClientError as error:
        raise _refused(error, f"{region} has no table {table}", code) from error
    except NoCredentialsError as error:
        raise CommandError(
            "no AWS credentials; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(for the twin any values do)",
            exit_code=Code.NOT_ALLOWED,
            code="no_credentials",
        ) from error
    except BotoCoreError as error:
        raise CommandError(str(error), exit_code=Code.UNREACHABLE, code="unreachable") from error


def _refused(error: ClientError, missing: str, missing_code: str) -> CommandError:
    code = _code(error)
    if code == "ResourceNotFoundException":
        return CommandError(
            f"{missing}; is the Data stack deployed, and is this its account?", code=missing_code
        )
    message = error.response["Error"].get("Message", code)
    exit_code = Code.NOT_ALLOWED if code in DENIED else Code.FAILED
    return CommandError(f"AWS refused: {message}", exit_code=exit_code, code=code)
