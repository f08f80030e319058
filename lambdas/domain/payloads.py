"""Payloads: small ones travel compressed inside the ledger's item."""

import json
import math
import zlib

INLINE_BYTES_MAX = 2560
"""Compressed bytes that may lie in the ledger: an item of 3 KB is 3 write units a replica."""
ENDPOINT_BYTES_MAX = 128_000
"""What InvokeEndpointAsync takes inline (its API reference)."""


def input_key(job_id: str, digest: bytes) -> str:
    """Where a large input lies: known from the job, even when its ledger item no longer says.

    The digest keeps another request with the same idempotency key from replacing this one's.
    """
    return f"inputs/{job_id}/{digest.hex()}.json"


def pack(body: bytes) -> bytes | None:
    """Compress JSON for the ledger; None if it is too large for it."""
    if len(body) > ENDPOINT_BYTES_MAX:
        return None
    packed = zlib.compress(body, level=6)
    return packed if len(packed) <= INLINE_BYTES_MAX else None


def unpack(packed: bytes) -> bytes:
    """The JSON that `pack` compressed."""
    return zlib.decompress(packed)


def is_json(body: bytes) -> bool:
    """Whether these bytes are one JSON document that can be given to a client."""
    try:
        json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number beyond what JSON's readers hold")
    return number
