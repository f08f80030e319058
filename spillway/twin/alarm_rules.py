"""Rules of composite alarms: `ALARM(a) AND NOT (OK("b") OR FALSE)`.

The page: docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html.
"""

import ast
import re
from collections.abc import Callable
from typing import Final

CHARACTERS_MAX: Final = 10_240
ALARMS_MAX: Final = 100
"""Bounds of an AlarmRule."""

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<state>ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:\"(?P<quoted>[^\"]+)\"|"
    r"(?P<name>[^()\"\s][^()\"]*?))\s*\)|(?P<word>(?:AND|OR|NOT|TRUE|FALSE)\b|[()]))"
)
_WORDS: Final = {"AND": " and ", "OR": " or ", "NOT": " not ", "TRUE": "True", "FALSE": "False"}


class AlarmRule:
    """One rule.

    Args:
        text: As in the template.

    Attributes:
        names: Alarms that it refers to, by name.

    Raises:
        ValueError: CloudWatch would refuse the rule.
    """

    def __init__(self, text: str) -> None:
        self._functions: list[tuple[str, str]] = []
        source: list[str] = []
        position = 0
        if len(text) > CHARACTERS_MAX:
            raise ValueError(f"AlarmRule has more than {CHARACTERS_MAX} characters")
        while position < len(text.rstrip()):
            token = _TOKEN.match(text, position)
            if token is None:
                raise ValueError(f"AlarmRule cannot be read from {text[position:]!r}")
            position = token.end()
            if token["word"]:
                source.append(_WORDS.get(token["word"], token["word"]))
                continue
            # An alarm is named, or told by its ARN, which ends with the name.
            name = (token["quoted"] or token["name"]).rpartition(":alarm:")[2]
            source.append(f"f{len(self._functions)}")
            self._functions.append((token["state"], name))
        try:
            self._tree = ast.parse(" ".join(source).strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"AlarmRule cannot be read: {text}") from error
        self.names = frozenset(name for _, name in self._functions)
        if len(self.names) > ALARMS_MAX:
            raise ValueError(f"AlarmRule refers to more than {ALARMS_MAX} alarms")

    def holds(self, state: Callable[[str], str | None]) -> bool:
        """Whether the rule holds, given each alarm's state by its name."""
        return self._holds(self._tree, state)

    def _holds(self, node: ast.expr, state: Callable[[str], str | None]) -> bool:
        match node:
            case ast.Constant(value=bool(value)):
                return value
            case ast.Name(id=name):
                wanted, alarm = self._functions[int(name[1:])]
                return state(alarm) == wanted
            case ast.UnaryOp(operand=inner):
                return not self._holds(inner, state)
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self._holds(value, state) for value in values)
            case ast.BoolOp(values=values):
                return any(self._holds(value, state) for value in values)
        raise ValueError("AlarmRule cannot be read")
