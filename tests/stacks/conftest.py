"""Cloud assemblies to look into, each synthesized once."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import app as application
from config.schema import load
from tests.stacks.assemblies import ROOT, Assembly, Synthesize


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with nothing in it: the templates only name its content."""
    folder = tmp_path_factory.mktemp("layer")
    (folder / "python").mkdir()
    (folder / "python" / "empty.py").touch()
    return folder


@pytest.fixture(scope="session")
def synthesize(tmp_path_factory: pytest.TempPathFactory, layer: Path) -> Synthesize:
    """Synthesizes a configuration file, as the command line does."""

    def run(config: Path, **context: str) -> Assembly:
        path = tmp_path_factory.mktemp("assembly")
        app = application.create(
            outdir=path, context={"layer": str(layer), "config": str(config), **context}
        )
        app.synth()
        return Assembly(
            path=path,
            deployment=load(config),
            manifest=json.loads((path / "manifest.json").read_text()),
            templates={
                file.name.removesuffix(".template.json"): json.loads(file.read_text())
                for file in sorted(path.glob("*.template.json"))
            },
        )

    return run


@pytest.fixture(scope="session")
def assembly(synthesize: Synthesize) -> Callable[[str], Assembly]:
    """The assembly of `dev` or of `prod`."""
    return cache(lambda name: synthesize(ROOT / "config" / f"{name}.yaml"))


@pytest.fixture
def dev(assembly: Callable[[str], Assembly]) -> Assembly:
    """Three regions, AWS-owned keys, nothing retained."""
    return assembly("dev")


@pytest.fixture
def prod(assembly: Callable[[str], Assembly]) -> Assembly:
    """Two regions and a witness, keys of our own, data retained."""
    return assembly("prod")
