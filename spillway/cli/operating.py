"""What the commands about tenants and keys share: where the directory is, and what is said."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console

from config.schema import Deployment
from lambdas.domain.access import LIVE_KEYS_MAX
from lambdas.domain.keys import key_hash, key_id
from spillway.cli.aws import at_a_replica, only_where_meant
from spillway.cli.deployment import named, said, to_write
from spillway.cli.terminal import CommandError, answer, usage
from spillway.directory import Directory, KeysChangingError, TooManyKeysError

Done = TypeVar("Done")

KEY_ID_LENGTH: Final = 12
CACHED_S_MAX: Final = 60
"""How long an authorizer may remember an answer."""


def to_change(config: Path | None, endpoint_url: str | None) -> Deployment:
    """The deployment that a command changes, which somebody must have named."""
    only_where_meant(endpoint_url)
    return to_write(config, endpoint_url)


def at_directory(
    deployment: Deployment, endpoint_url: str | None, act: Callable[[Directory], Done]
) -> Done:
    """Do something in the directory: through the first region's copy of it that answers."""
    only_where_meant(endpoint_url)
    return at_a_replica(
        deployment.names.directory,
        deployment.regions,
        endpoint_url,
        lambda replica: act(Directory(replica.table(), time.time)),
        missing_code="no_directory",
    )


def show_once(console: Console, what: str, secret: str) -> None:
    """Show a secret on a line of its own, to be copied as it is."""
    console.print(f"{what}, shown only now:")
    console.print(secret, markup=False, highlight=False, soft_wrap=True)


def check_known(what: str, given: list[str] | None, allowed: Iterable[str]) -> None:
    """Refuse names that the deployment does not have: a limit on them would lock everybody out."""
    unknown = ", ".join(sorted(set(given or []) - set(allowed)))
    if unknown:
        raise usage(f"there is no {what} {unknown}; there is {', '.join(allowed)}")


def find_key(directory: Directory, sought: str) -> dict[str, Any]:
    """The one key with that id, which may be given in full or as its shown beginning."""
    if len(sought) < KEY_ID_LENGTH:
        raise usage(
            f"a key's id has {KEY_ID_LENGTH} hexadecimal digits; `spillway tenant list` shows them"
        )
    found = [key for key in directory.list_keys() if key["id"].startswith(sought)]
    if len(found) != 1:
        raise CommandError(
            "there is no such key; `spillway tenant list` shows their ids", code="key_not_found"
        )
    return found[0]


def unknown_tenant(tenant: str) -> CommandError:
    """There is no such tenant."""
    return CommandError(
        f"there is no tenant {tenant}; `spillway tenant list` shows them", code="tenant_not_found"
    )


@contextmanager
def too_many_keys(tenant: str, name: str) -> Iterator[None]:
    """Say what to do about a name that has all its keys, or gets them from others just now."""
    try:
        yield
    except TooManyKeysError as error:
        raise CommandError(
            f"{tenant} has {LIVE_KEYS_MAX} live keys named {name} ({error}), and may have no more: "
            "revoke the one that is no longer used with `spillway key revoke KEY_ID`, or give the "
            "new one another name",
            code="too_many_keys",
        ) from None
    except KeysChangingError:
        raise CommandError(
            f"others make keys of {tenant} just now; try again", code="keys_changing"
        ) from None


def revoke_key(key: str, *, config: Path | None, endpoint_url: str | None, as_json: bool) -> None:
    """Make a key worthless, by its id, or by itself from the standard input if that is "-"."""
    sought = key_hash(sys.stdin.read().strip()) if key == "-" else key

    def act(directory: Directory) -> dict[str, Any]:
        found = find_key(directory, sought)
        directory.revoke(found["id"])
        return found

    deployment = to_change(config, endpoint_url)
    found = at_directory(deployment, endpoint_url, act)
    document = {
        "tenant": found["tenant"],
        "key_id": key_id(found["id"]),
        "name": found["name"],
        "effective_within_s": CACHED_S_MAX,
    }
    text = said(
        deployment,
        f"key {document['key_id']} ({found['name']}) of {found['tenant']} is revoked, "
        f"everywhere within {CACHED_S_MAX} s",
    )
    answer(
        document | named(deployment),
        as_json=as_json,
        render=lambda console: console.print(text, highlight=False, soft_wrap=True),
    )
