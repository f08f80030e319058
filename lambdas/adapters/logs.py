"""The log: one JSON line for each decision, with ids and numbers, never payloads or secrets."""

import logging
import sys
from typing import TextIO

from aws_lambda_powertools.logging import Logger


class _CurrentOutput(logging.StreamHandler[TextIO]):
    """Writes to what standard output is now: one process may hold many environments."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # the base class keeps what it was once
        return sys.stdout


logger = Logger(service="spillway", logger_handler=_CurrentOutput())
