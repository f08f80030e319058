"""Writes docs/configuration.md from the configuration's schema."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config.schema import Deployment  # noqa: E402 the project's root is found first

TARGET = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration

Generated from `config/schema.py` by `python tools/document_configuration.py`; a test checks it.
Fields that are not listed are refused. Names of models and versions are free where the table says
`{name}`.

| field | type and range | default | meaning |
| --- | --- | --- | --- |
"""


def document() -> str:
    """The page."""
    schema = Deployment.model_json_schema()
    return HEAD + "".join(_rows(schema, schema.get("$defs", {}), ""))


def _rows(node: dict[str, Any], defs: dict[str, Any], prefix: str) -> list[str]:
    rows: list[str] = []
    required = set(node.get("required", []))
    for name, raw in node.get("properties", {}).items():
        field, inner, inner_prefix = _inside(raw, defs, f"{prefix}{name}")
        rows.append(_row(f"{prefix}{name}", raw, field, required=name in required))
        if inner is not None:
            rows += _rows(inner, defs, f"{inner_prefix}.")
    return rows


def _inside(
    raw: dict[str, Any], defs: dict[str, Any], path: str
) -> tuple[dict[str, Any], dict[str, Any] | None, str]:
    field = _resolve(raw, defs)
    if "properties" in field:
        return field, field, path
    values = field.get("additionalProperties") or next(
        iter(field.get("patternProperties", {}).values()), None
    )
    if isinstance(values, dict):
        inner = _resolve(values, defs)
        if "properties" in inner:
            return field, inner, f"{path}.{{name}}"
    return field, None, path


def _resolve(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return dict(defs[node["$ref"].rpartition("/")[2]]) | {
            key: value for key, value in node.items() if key != "$ref"
        }
    options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        return _resolve(options[0], defs) | {"default": node.get("default")}
    return node


def _row(path: str, raw: dict[str, Any], field: dict[str, Any], *, required: bool) -> str:
    default = "required" if required else f"`{raw.get('default')}`"
    if isinstance(raw.get("default"), dict | list) and raw["default"]:
        default = "see below"
    meaning = str(raw.get("description") or field.get("description") or "").split("\n\n")[0]
    meaning = " ".join(meaning.split()).replace("|", "\\|")
    return f"| `{path}` | {_range(field)} | {default} | {meaning} |\n"


def _range(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = {"object": "mapping", "array": "list"}.get(field.get("type", ""), field.get("type", ""))
    bounds = [
        f"{sign} {field[name]}"
        for name, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
            ("minItems", "at least"),
            ("maxItems", "at most"),
        )
        if name in field
    ]
    pattern = f" `{field['pattern']}`".replace("|", "\\|") if "pattern" in field else ""
    return " ".join([kind, ", ".join(bounds)]).strip() + pattern


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
