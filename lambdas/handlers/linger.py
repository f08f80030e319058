"""linger: waits as `wait` does, in the places that are kept for who finds no other.

A function of its own because Lambda then counts its executions apart: whoever takes every place of
`wait` takes none of these, of which each tenant has a few at most.
"""

from lambdas.handlers.wait import create
from lambdas.wiring import Function

handle = Function(create)
