"""What a model says when it fails, as its user may read it."""

import json
import re
from collections.abc import Mapping
from typing import Any

MESSAGE_CHARACTERS_MAX = 500
"""A model's message is kept that long: it may quote the request."""
SEARCHED_CHARACTERS_MAX = 8_000
"""Of a model's message: what follows could be told only after thousands of blanks."""
NO_MESSAGE = "The model failed without a message."
_FIELDS = ("error", "message", "errorMessage", "detail", "msg")
"""Where model servers put their message: OpenAI's shape, TorchServe, DJL, FastAPI, vLLM."""
_DEPTH_MAX = 3
_SECRETS = re.compile(
    r"""
      \bsk-[\w-]{16,}                                  # API keys, ours among them
    | \b(?:hf|gh[opsu]|xox[abp]|glpat|pypi)[_-][\w-]{16,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                    # AWS access keys
    | \beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]+)?              # JSON web tokens
    | (?<=://)[^\s/@:]+:[^\s/@]+(?=@)                  # a password in an address
    | (?<=[?&])X-Amz-[\w-]+=[^\s&"']+                  # what signs an address
    | (?i:\bbearer\s+)[\w.~+/-]{8,}=*
    | (?i:(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)["']?\s*[=:]\s*["']?)[^\s"',;]+
    """,
    re.VERBOSE,
)

_RIGHTS = re.compile(
    r"Access ?Denied|ExpiredToken|InvalidClientTokenId|InvalidSignature|SignatureDoesNotMatch"
    r"|UnrecognizedClient|NotAuthorized|UnauthorizedOperation|KMS\.(?:Disabled|InvalidState)",
    re.IGNORECASE,
)
"""How services call it when a role, a key policy or credentials do not allow a call."""


_DECLINED = re.compile(r"(?:\w+: )?Received client error \((?:400|413|415|422)\) from ")
"""How SageMaker tells a container's status that says that the input is wrong, too large, of another
kind, or makes no sense. Any other one below 500 may be the container's own fault: a route that it
has not, credentials that it lacks, a limit of its own."""


def blames_input(reason: str) -> bool:
    """Whether SageMaker tells that the container found fault with the input.

    Source:
        Notifications that were seen, like "ClientError: Received client error (400) from model. See
        the SageMaker Endpoint logs in your account for more information." None is documented: any
        other text blames nothing.
    """
    return _DECLINED.match(reason) is not None


def for_want_of_a_right(text: str) -> bool:
    """Whether an error code, or what SageMaker says of a failed attempt, is about permissions."""
    return _RIGHTS.search(text) is not None


def model_message(body: bytes | None, reason: str) -> str:
    """The message of a failed attempt.

    Args:
        body: What the container answered, if that is known.
        reason: What SageMaker says, which counts when the container said nothing that can be read.

    Returns:
        At most `MESSAGE_CHARACTERS_MAX` characters, one line, without what looks like a secret.
    """
    text = _beginning((_words(body) if body else "") or reason)
    # Secrets go first: the end of the text must not cut one into something unrecognisable.
    plain = " ".join(_SECRETS.sub("[removed]", text).split())
    return plain[:MESSAGE_CHARACTERS_MAX] or NO_MESSAGE


def late_message(earlier: Mapping[str, str] | None) -> str:
    """The message of a job that did not start in time.

    Args:
        earlier: `code` and `message` of its last attempt's failure, if one was made: what the
            client can mend is that failure, not the wait.

    Returns:
        At most `MESSAGE_CHARACTERS_MAX` characters.
    """
    if earlier is None:
        return "The job did not start in time."
    text = f"No other attempt started in time after {earlier['code']}: {earlier['message']}"
    return text[:MESSAGE_CHARACTERS_MAX]


def _beginning(text: str) -> str:
    """As much as is searched for secrets: the time of that can grow with the square."""
    if len(text) <= SEARCHED_CHARACTERS_MAX:
        return text
    whole, _, _ = text[:SEARCHED_CHARACTERS_MAX].rpartition(" ")
    return whole or text[:SEARCHED_CHARACTERS_MAX]


def _words(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return ""
        text = body[: error.start].decode()  # only its beginning was read
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text if text.isprintable() or "\n" in text else ""
    return _found(document, _DEPTH_MAX) or text


def _found(document: Any, depth: int) -> str:
    """The first message in a document of any usual shape."""
    if isinstance(document, str):
        return document
    if not isinstance(document, dict) or depth == 0:
        return ""
    for name in _FIELDS:
        if found := _found(document.get(name), depth - 1):
            return found
    return ""
