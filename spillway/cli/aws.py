"""How operators' commands reach AWS, and what its refusals mean."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from spillway.cli.terminal import Code, CommandError


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
    code = error.response["Error"]["Code"]
    if code == "ResourceNotFoundException":
        return CommandError(
            f"{missing}; is the Data stack deployed, and is this its account?", code=missing_code
        )
    message = error.response["Error"].get("Message", code)
    exit_code = Code.NOT_ALLOWED if code in DENIED else Code.FAILED
    return CommandError(f"AWS refused: {message}", exit_code=exit_code, code=code)
