"""Writes docs/openapi.json from the models of requests and answers, and the stacks' own answers."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stacks.node import node_binary  # noqa: E402 the project's root first

node_binary()  # jsii starts the Node of the Python wheel: before the first import of aws_cdk.

from spillway.openapi import document as description  # noqa: E402
from stacks.api_construct import ANSWERS  # noqa: E402

TARGET = ROOT / "docs" / "openapi.json"


def document() -> str:
    """The whole file."""
    written = json.dumps(description.document(ANSWERS), indent=1, ensure_ascii=False)
    return written + "\n"


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
