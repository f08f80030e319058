"""Regular expressions that are searched in what models write: bounded before anything is built."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

PATTERN_CHARACTERS_MAX = 256
REPEATS_MAX = 2
CHOICES_MAX = 8
# What `re` itself parses with. No type stubs describe it, so it comes without types, by its name.
codes: Any = import_module("re._constants")
parser: Any = import_module("re._parser")
_REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}
_GROUPS = {codes.SUBPATTERN, codes.ASSERT, codes.ASSERT_NOT}
_REFERENCES = {codes.GROUPREF, codes.GROUPREF_EXISTS}


def trouble(pattern: str) -> str | None:
    """What is wrong with a pattern; None if it can be searched in bounded time.

    Python's `re` goes back and tries again: a repetition within a repetition takes time that
    doubles with every character of the text. What is left takes at most its third power, of a
    text that is cut.
    """
    if len(pattern) > PATTERN_CHARACTERS_MAX:
        return f"a pattern has at most {PATTERN_CHARACTERS_MAX} characters"
    try:
        tree = parser.parse(pattern)
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"a regular expression of Python: {error}"
    repeats, choices = 0, 0
    for code, argument, repeated in _parts(tree, repeated=False):
        varies = code is codes.BRANCH or (code in _REPEATS and argument[0] != argument[1])
        if code in _REFERENCES or (varies and repeated):
            return (
                "a pattern without back references, and without repetitions or alternatives "
                "within a repetition: they can take for ever"
            )
        unbounded = varies and code in _REPEATS and argument[1] > 1
        repeats += unbounded
        choices += varies and not unbounded
    if repeats > REPEATS_MAX:
        return f"a pattern with at most {REPEATS_MAX} repetitions of no fixed length"
    if choices > CHOICES_MAX:
        return f"a pattern with at most {CHOICES_MAX} optional parts and groups of alternatives"
    return None


def _parts(tree: Any, *, repeated: bool) -> Iterator[tuple[Any, Any, bool]]:
    """Every part of a pattern, its arguments, and whether it stands within a repetition."""
    for code, argument in tree:
        yield code, argument, repeated
        if code in _REPEATS:
            yield from _parts(argument[2], repeated=repeated or argument[1] > 1)
        elif code is codes.BRANCH:
            for each in argument[1]:
                yield from _parts(each, repeated=repeated)
        elif code in _GROUPS:
            yield from _parts(argument[-1], repeated=repeated)
        elif code is codes.ATOMIC_GROUP:
            yield from _parts(argument, repeated=repeated)
