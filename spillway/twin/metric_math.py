"""CloudWatch metric math: expressions over series, as alarms and `GetMetricData` use them.

The page: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html. Every
series of a request has the same period and range; None stands where there is no data point.
Python's own parser reads the expressions; what this module does not run, it refuses by name.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise, repeat
from typing import Final

from spillway.twin.resources import UnsupportedError

Series = list[float | None]
Array = tuple[Series, ...]
Scalar = float | None
"""None where a division by zero dropped it."""
Value = Scalar | Series | Array

_STRING: Final = re.compile(r'("[^"]*"|\'[^\']*\')')
_SPELLINGS: Final = (
    (re.compile(r"\bAND\b|&&"), " and "),
    (re.compile(r"\bOR\b|\|\|"), " or "),
)
_ARITHMETIC: Final[Mapping[type[ast.AST], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Final[Mapping[type[ast.AST], Callable[[float, float], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.LtE: operator.le,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
}
_LOGIC: Final[Mapping[type[ast.AST], Callable[[float, float], bool]]] = {
    ast.And: lambda left, right: bool(left and right),
    ast.Or: lambda left, right: bool(left or right),
}
_EACH: Final[Mapping[str, Callable[[float], float]]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
}
_ALL: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "AVG": lambda values: sum(values) / len(values),
    "MAX": max,
    "MIN": min,
    "SUM": sum,
}
_FILLERS: Final = frozenset({"REPEAT", "LINEAR"})


class Math:
    """The queries of one request.

    Args:
        metrics: Ids of the metrics, in order.
        expressions: Expressions by id; they may use metrics and one another.

    Raises:
        ValueError: CloudWatch would refuse an expression.
        UnsupportedError: It uses a function or an operator that is not run here.
    """

    def __init__(self, metrics: Sequence[str], expressions: Mapping[str, str]) -> None:
        self._metrics = tuple(metrics)
        self._trees = {name: _parse(text) for name, text in expressions.items()}
        for name in self._trees:
            self._check(name, ())

    def series(self, wanted: str, data: Mapping[str, Series]) -> Series:
        """What one query comes to.

        Args:
            wanted: Its id.
            data: The series of every metric, all of one length.

        Raises:
            ValueError: It comes to a single number, or to several series.
        """
        value = self._named(wanted, data)
        if not isinstance(value, list):
            raise ValueError(  # noqa: TRY004 as CloudWatch refuses it
                f"expression {wanted!r} must come to a single time series"
            )
        return value

    def _check(self, name: str, above: tuple[str, ...]) -> None:
        """Make sure that an expression can be computed, and ends."""
        if name in above:
            raise ValueError(f"expression {name!r} depends on itself")
        for node in ast.walk(self._trees[name]):
            if isinstance(node, ast.Name) and node.id in self._trees:
                self._check(node.id, (*above, name))
            elif isinstance(node, ast.Name) and node.id not in (
                *self._metrics,
                *_FILLERS,
                *_FUNCTIONS,
            ):
                raise ValueError(f"expression {name!r} names {node.id!r}, which no query has as id")

    def _named(self, name: str, data: Mapping[str, Series]) -> Value:
        return data[name] if name in data else self._value(self._trees[name].body, data)

    def _value(  # noqa: PLR0911 a line for each kind of node
        self, node: ast.expr, data: Mapping[str, Series]
    ) -> Value:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return self._named(name, data)
            case ast.List(elts=elements):
                return _array(self._value(element, data) for element in elements)
            case ast.UnaryOp(operand=inner):
                return _map(operator.neg, self._value(inner, data))
            case ast.BinOp(left=left, op=sign, right=right):
                compute = _ARITHMETIC[type(sign)]
                return _both(compute, self._value(left, data), self._value(right, data))
            case ast.Compare(left=left, ops=[sign], comparators=[right]):
                compare = _COMPARISONS[type(sign)]
                return _both(compare, self._value(left, data), self._value(right, data))
            case ast.BoolOp(op=sign, values=[first, *others]):
                value = self._value(first, data)
                for other in others:
                    value = _both(_LOGIC[type(sign)], value, self._value(other, data))
                return value
            case ast.Call(func=ast.Name(id=function), args=arguments):
                return self._call(function, arguments, data)
        raise AssertionError(f"checked before: {ast.dump(node)}")

    def _call(
        self, function: str, arguments: Sequence[ast.expr], data: Mapping[str, Series]
    ) -> Value:
        if function == "METRICS":
            part = str(getattr(arguments[0], "value", "")) if arguments else ""
            return tuple(data[name] for name in self._metrics if part in name)
        if function == "FILL":
            series, filler = arguments
            how = filler.id if isinstance(filler, ast.Name) and filler.id in _FILLERS else None
            with_ = how or self._value(filler, data)
            value = self._value(series, data)
            return (
                tuple(_fill(each, with_) for each in value)
                if isinstance(value, tuple)
                else (_fill(_series(value), with_))
            )
        values = [self._value(argument, data) for argument in arguments]
        if function in _EACH:
            return _map(_EACH[function], values[0])
        if function in _ALL:
            return _all(_ALL[function], values[0])
        return _if(values[0], values[1], values[2] if len(values) > 2 else None)  # noqa: PLR2004


_FUNCTIONS: Final[Mapping[str, range]] = {
    **dict.fromkeys([*_EACH, *_ALL], range(1, 2)),
    "FILL": range(2, 3),
    "IF": range(2, 4),
    "METRICS": range(2),
}
"""What is run, with how many arguments it takes."""


def _parse(text: str) -> ast.Expression:
    """Read an expression, and refuse what is not run.

    Raises:
        ValueError: It is no expression.
        UnsupportedError: It uses something else, which the message names.
    """
    parts = _STRING.split(text)
    for index in range(0, len(parts), 2):  # The others are texts in quotes.
        for spelling, word in _SPELLINGS:
            parts[index] = spelling.sub(word, parts[index])
    try:
        tree = ast.parse("".join(parts).strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"metric math cannot be read: {text}") from error
    _refuse(tree.body, text)
    return tree


def _refuse(node: ast.expr, text: str) -> None:
    inner: Sequence[ast.expr] | None = None
    match node:
        case ast.Constant(value=number) if type(number) in (int, float):
            inner = []
        case ast.Name():
            inner = []
        case ast.List(elts=inner) | ast.BoolOp(values=inner):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = [operand]
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _ARITHMETIC:
            inner = [left, right]
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _COMPARISONS:
            inner = [left, right]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            inner = _arguments(name, arguments, text)
    if inner is None:
        raise UnsupportedError(f"metric math {ast.unparse(node)} is not run: {text}")
    for each in inner:
        _refuse(each, text)


def _arguments(name: str, arguments: Sequence[ast.expr], text: str) -> Sequence[ast.expr]:
    """The expressions among the arguments of a function that is run."""
    if name not in _FUNCTIONS:
        raise UnsupportedError(f"metric math function {name} is not run: {text}")
    if len(arguments) not in _FUNCTIONS[name]:
        raise ValueError(f"metric math function {name} takes other arguments: {text}")
    if name != "METRICS":
        return arguments
    if not all(isinstance(each, ast.Constant) for each in arguments):
        raise ValueError(f"metric math function {name} takes a text: {text}")
    return []


def _array(values: Iterable[Value]) -> Array:
    found: list[Series] = []
    for value in values:
        found += value if isinstance(value, tuple) else [_series(value)]
    return tuple(found)


def _series(value: Value) -> Series:
    if not isinstance(value, list):
        raise ValueError("metric math expects a time series here")  # noqa: TRY004 CloudWatch's own
    return value


def _map(compute: Callable[[float], float], value: Value) -> Value:
    if isinstance(value, tuple):
        return tuple([None if x is None else compute(x) for x in each] for each in value)
    if isinstance(value, list):
        return [None if x is None else compute(x) for x in value]
    return None if value is None else compute(value)


def _one(compute: Callable[[float, float], float], left: Scalar, right: Scalar) -> Scalar:
    """Compute one data point; one that divides by zero is dropped."""
    if left is None or right is None:
        return None
    try:
        return float(compute(left, right))
    except ZeroDivisionError:
        return None


def _both(compute: Callable[[float, float], float], left: Value, right: Value) -> Value:
    """Combine two values point by point.

    "Missing values in a time series are treated as 0", where the other series has a value.
    """
    if isinstance(left, tuple) or isinstance(right, tuple):
        lefts = left if isinstance(left, tuple) else repeat(left)
        rights = right if isinstance(right, tuple) else repeat(right)
        if isinstance(left, tuple) and isinstance(right, tuple) and len(left) != len(right):
            raise ValueError("metric math combines arrays of one length only")
        pairs = zip(lefts, rights, strict=False)
        return tuple(_series(_both(compute, one, two)) for one, two in pairs)
    if isinstance(left, list) and isinstance(right, list):
        return [
            None if one is None and two is None else _one(compute, one or 0.0, two or 0.0)
            for one, two in zip(left, right, strict=True)
        ]
    if isinstance(left, list):
        return [_one(compute, one, _scalar(right)) for one in left]
    if isinstance(right, list):
        return [_one(compute, _scalar(left), two) for two in right]
    return _one(compute, left, right)


def _scalar(value: Value) -> Scalar:
    if isinstance(value, list | tuple):
        raise ValueError("metric math expects a number here")  # noqa: TRY004 CloudWatch's own
    return value


def _all(compute: Callable[[Sequence[float]], float], value: Value) -> Value:
    """Aggregate: one series comes to a number, an array of series to one series."""
    if isinstance(value, tuple):
        columns = ([x for x in column if x is not None] for column in zip(*value, strict=True))
        return [compute(column) if column else None for column in columns]
    found = [x for x in _series(value) if x is not None]
    return compute(found) if found else None


def _fill(series: Series, filler: Value | str) -> Series:
    """Fill gaps with a number, another series, the value before, or a line between neighbours."""
    if filler == "LINEAR":
        return _interpolate(series)
    filled: Series = []
    for index, x in enumerate(series):
        if x is not None:
            filled.append(x)
        elif filler == "REPEAT":
            filled.append(filled[-1] if filled else None)
        elif isinstance(filler, list):
            filled.append(filler[index])
        else:
            filled.append(None if isinstance(filler, str) else _scalar(filler))
    return filled


def _interpolate(series: Series) -> Series:
    known = [(index, x) for index, x in enumerate(series) if x is not None]
    filled = list(series)
    for (start, low), (end, high) in pairwise(known):
        for index in range(start + 1, end):
            filled[index] = low + (high - low) * (index - start) / (end - start)
    return filled


def _if(condition: Value, yes: Value, no: Value) -> Value:
    """Choose point by point: a missing `yes` is 0, a missing `no` drops the point.

    Source:
        "Using IF expressions" of the page.
    """
    if isinstance(condition, tuple) or isinstance(yes, tuple) or isinstance(no, tuple):
        raise UnsupportedError("metric math IF over arrays is not run")
    if not isinstance(condition, list):
        return yes if condition else no
    chosen: Series = []
    for index, holds in enumerate(condition):
        if holds is None:
            chosen.append(None)
        elif holds:
            x = yes[index] if isinstance(yes, list) else yes
            chosen.append(0.0 if x is None else x)
        else:
            chosen.append(no[index] if isinstance(no, list) else no)
    return chosen
