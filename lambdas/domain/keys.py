"""API keys: 256 random bits, kept only as a hash."""

import base64
import hashlib

PREFIX = "sk-spillway-"
KEY_BYTES = 32


def new_key(entropy: bytes) -> str:
    """Make an API key.

    Args:
        entropy: Exactly 32 random bytes.

    Raises:
        ValueError: The entropy has another length.
    """
    if len(entropy) != KEY_BYTES:
        raise ValueError(f"a key is made of {KEY_BYTES} random bytes")
    return PREFIX + base64.urlsafe_b64encode(entropy).decode().rstrip("=")


def key_hash(key: str) -> str:
    """What the directory knows of a key.

    A plain hash is enough: nobody guesses 256 random bits, so there is nothing to slow down.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def key_id(hashed: str) -> str:
    """A name for a key that may appear in logs and lists: the first 12 digits of its hash."""
    return hashed[:12]
