"""Documents say what the code does."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import typer

from config.guard_alarms import guard_alarms
from config.operator_alarms import description, of_model, of_region
from config.schema import load
from spillway import Client, testing
from spillway.cli.main import app
from spillway.testing import Stacks
from spillway.twin.http import Transport
from spillway.twin.sagemaker import Assumptions
from tools import document_alarms, document_metrics
from tools.document_configuration import TARGET, document

ROOT = Path(__file__).parents[2]
spillway_config, stacks = testing.spillway_config, testing.stacks


def read(name: str) -> str:
    """A document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def python_of(name: str) -> list[str]:
    """A document's Python examples."""
    return re.findall(r"```python\n(.*?)```", read(name), flags=re.DOTALL)


class Hosts(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Leads every host to a region of the stacks: the one that its name begins with, or the first.

    Args:
        stacks: The deployment.
    """

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer for the host."""
        asked = request.url.host.partition(".")[0]
        region = asked if asked in self._stacks.deployment.regions else None
        twin = self._stacks.twin
        to = region or self._stacks.deployment.primary_region
        return Transport(twin.scheduler, twin.gateway, region=to).handle_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer for the host."""
        asked = httpx.Request(
            request.method, request.url, headers=request.headers, content=await request.aread()
        )
        answer = self.handle_request(asked)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


class Hosts2(httpx2.BaseTransport):
    """The same for the library that OpenAI's client brings.

    Args:
        stacks: The deployment.
    """

    def __init__(self, stacks: Stacks) -> None:
        self._hosts = Hosts(stacks)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer for the host."""
        answer = self._hosts.handle_request(
            httpx.Request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                content=request.read(),
            )
        )
        return httpx2.Response(
            answer.status_code, headers=answer.headers.multi_items(), content=answer.content
        )


def test_the_examples_of_the_python_client_run(
    stacks: Stacks, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are copied as they are; what they print is what they promise."""
    for name in ("HTTPTransport", "AsyncHTTPTransport"):
        monkeypatch.setattr(f"httpx._client.{name}", lambda **_: Hosts(stacks))
    monkeypatch.setattr("httpx2._client.HTTPTransport", lambda **_: Hosts2(stacks))
    # A virtual clock belongs to one thread, and who sleeps lets it pass.
    for name, value in {"concurrency": 1, "sleep": stacks.run_for}.items():
        monkeypatch.setitem(Client.__init__.__kwdefaults__ or {}, name, value)
    monkeypatch.setenv("SPILLWAY_URL", "https://us-east-1.twin")
    for name in ("SPILLWAY_API_KEY", "EU_KEY", "US_KEY"):
        monkeypatch.setenv(name, stacks.api_key)
    stacks.model("embedder").answers(lambda _: {"data": [{"embedding": [1]}]})
    readme = [each for each in python_of("README.md") if "def test_" not in each]

    printed = []
    for example in [*readme, *python_of("docs/api.md")]:
        exec(compile(example, "example", "exec"), {})  # noqa: S102 our own documents
        printed.append(capsys.readouterr().out)

    openai_readme, own_readme, openai_api, *own_api = printed
    assert (openai_readme, own_readme) == ("1\n", "completed {'data': [{'embedding': [1]}]}\n")
    assert re.fullmatch(r"1 job_[a-z2-7]{26}\n", openai_api)
    assert own_api == [
        "['completed', 'completed']\n",
        "completed\n",
        "completed 1\n" * 3,
        "",
    ]


def test_the_readmes_example_runs(tmp_path: Path) -> None:
    """The first thing that another team copies must work."""
    (example,) = (each for each in python_of("README.md") if "def test_" in each)
    (tmp_path / "test_example.py").write_text(example, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )

    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout


def test_the_table_of_the_configuration_is_the_schemas() -> None:
    """Whoever edits a YAML file by the table must not be refused."""
    assert TARGET.read_text(encoding="utf-8") == document()


def test_the_table_of_metrics_is_the_codes() -> None:
    """Whoever builds an alarm by the table must find the metric."""
    assert document_metrics.TARGET.read_text(encoding="utf-8") == document_metrics.document()


def test_the_table_of_alarms_is_the_codes() -> None:
    """Whoever is paid to be woken wants to know by what."""
    assert document_alarms.TARGET.read_text(encoding="utf-8") == document_alarms.document()


def test_every_assumption_of_the_twin_is_on_the_list() -> None:
    """What nobody wrote down, nobody will check on the first real deployment."""
    page = read("docs/assumptions.md")
    missing = [
        field.name
        for field in dataclasses.fields(Assumptions)
        if f"Assumptions.{field.name}`" not in page
    ]
    assert missing == []


def test_every_error_code_is_explained() -> None:
    """An application handles the codes that the page lists."""
    sources = [*(ROOT / "lambdas").rglob("*.py"), ROOT / "stacks" / "api_construct.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'code="([a-z_]+)"', text))
    codes |= set(re.findall(r'"code": "([a-z_]+)"', text))
    codes |= set(re.findall(r'\((?:\d+|None),\s*[\w"]+,\s*"([a-z_]+)"', text))
    codes |= {"not_allowed", "job_not_found", "too_large", "temporarily_unavailable"}
    page = read("docs/api.md")
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []


def spoken(text: str) -> list[str]:
    """The `spillway` commands in a text: in code spans, and after prompts."""
    spans = re.findall(r"`(spillway [^`]+)`", " ".join(text.split()))
    return spans + re.findall(r"^\$ (spillway [^#\n]+)", text, flags=re.MULTILINE)


def unknown(command: str) -> str:
    """What of a command does not exist; empty if all of it does."""
    found: Any = typer.main.get_command(app)
    words = command.split()[1:]
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--"):
            if option not in {each for param in found.params for each in param.opts}:
                return f"{command}: {option}"
        elif hasattr(found, "commands"):
            if word not in found.commands:
                return f"{command}: {word}"
            found = found.commands[word]
    return ""


@pytest.mark.parametrize("document_name", ["docs/runbook.md", "docs/models.md", "docs/releases.md"])
def test_every_command_in_it_exists(document_name: str) -> None:
    """Whoever is woken at night types what stands there."""
    commands = spoken(read(document_name)) if (ROOT / document_name).exists() else []

    assert document_name != "docs/runbook.md" or len(commands) > 20
    assert list(filter(None, map(unknown, commands))) == []
    assert unknown("spillway region destroy") == "spillway region destroy: destroy"
    assert unknown("spillway capacity --fast") == "spillway capacity --fast: --fast"


def test_every_alarm_links_to_a_section_of_the_runbook() -> None:
    """A message that leads nowhere costs the minutes that count."""
    headings = re.findall(r"^#+ (.+)$", read("docs/runbook.md"), flags=re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    deployment = load(ROOT / "config" / "dev.yaml")
    alarms = [
        *of_region(deployment, deployment.primary_region),
        *(alarm for model in deployment.models for alarm in of_model(deployment, model)),
        *(
            alarm
            for name, model in deployment.models.items()
            for version in model.versions
            for alarm in guard_alarms(deployment, name, version)
        ),
    ]

    for alarm in alarms:
        text = description(alarm, deployment)
        link = text.rpartition("Runbook: ")[2]
        page, _, section = link.partition("#")
        assert (ROOT / page).exists()
        assert section in anchors, alarm.name
        # PutMetricAlarm takes no more.
        assert len(text) <= 1024
        assert list(filter(None, map(unknown, spoken(text)))) == []


@pytest.mark.parametrize(
    "document_name",
    ["README.md", "docs/alarms.md", "docs/releases.md", "docs/runbook.md", "CONTRIBUTING.md"],
)
def test_links_and_files_exist(document_name: str) -> None:
    """A reader who follows a name must arrive."""
    page = read(document_name)
    names = re.findall(r"\]\(((?!http)[^)#]+)(?:#[^)]*)?\)", page)
    names += re.findall(r"`((?:lambdas|stacks|spillway|tests|config|docs)/[\w./-]+)`", page)
    base = (ROOT / document_name).parent
    gone = [name for name in names if not (base / name).exists() and not (ROOT / name).exists()]
    assert gone == []
