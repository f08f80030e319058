"""Which model may take over from which."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from config.schema import ConfigError, load
from tests.config.test_schema import changed, refusal


def circle(*way: str) -> dict[str, Any]:
    """The dev configuration with models that take over from each other in turn."""
    document = changed("models/chat/fallback", None)
    models = document["models"]
    for name in way:
        models[name] = models["chat"] | {"versions": dict(models["chat"]["versions"])}
    for name, following in zip(way, (*way[1:], way[0]), strict=True):
        models[name]["fallback"] = following
    return document


@pytest.mark.parametrize("way", [("a", "b"), ("a", "b", "c")])
def test_a_circle_of_fallbacks_is_refused_and_shown(tmp_path: Path, way: tuple[str, ...]) -> None:
    """Nobody can tell which of the models is the last resort."""
    message = refusal(tmp_path, circle(*way))

    assert message.startswith("models.a.fallback: leads back: " + " -> ".join((*way, "a")))


def test_a_fallback_takes_every_input_that_the_model_takes(tmp_path: Path) -> None:
    """A job that was accepted would else fail for its size."""
    document = changed("models/chat/fallback", "embedder")
    document["models"]["embedder"]["input_bytes_max"] = 999_999

    message = refusal(tmp_path, document)

    assert "input_bytes_max is 999999, and chat's is 20000000" in message


def test_functions_know_the_fallback(tmp_path: Path) -> None:
    """They read the policy, not the configuration."""
    path = tmp_path / "test.yaml"
    document = changed("models/chat/fallback", "embedder")
    document["models"]["embedder"] |= {
        "apis": ["embeddings", "chat.completions"],
        "input_bytes_max": document["models"]["chat"]["input_bytes_max"],
    }
    path.write_text(yaml.safe_dump(document))

    policy = load(path).policy()

    assert policy.models["chat"].fallback == "embedder"
    assert policy.models["embedder"].fallback is None
    assert type(policy).from_json(policy.to_json()) == policy


def test_a_fallback_answers_the_same_routes(tmp_path: Path) -> None:
    """A chat that falls back to a model of embeddings would be answered with numbers."""
    path = tmp_path / "test.yaml"
    document = changed("models/chat/fallback", "embedder")
    most = document["models"]["chat"]["input_bytes_max"]
    document["models"]["embedder"]["input_bytes_max"] = most
    path.write_text(yaml.safe_dump(document))

    with pytest.raises(ConfigError, match="its apis are embeddings"):
        load(path)
