"""The commands of applications, against an API made of canned answers."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from spillway.cli.jobs import Network
from spillway.cli.main import app

JOB = {"id": "job_a", "object": "job", "status": "queued", "model": "embedder", "tier": "batch"}
KEY = "sk-spillway-secret"
Answer = Callable[[httpx.Request], httpx.Response]


class Service:
    """Answers every request with the next canned answer, and remembers what was asked."""

    def __init__(self, *answers: httpx.Response | httpx.ConnectError, takes_s: float = 0.0) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.takes_s = takes_s
        self.now_s = 0.0
        self.slept_s = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Take the place of the network."""
        self.asked.append(request)
        self.now_s += self.takes_s
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        """Let time pass without waiting."""
        self.slept_s += seconds
        self.now_s += seconds


def run(service: Service, *words: str, given: str | None = None) -> Result:
    """Run a command against the service, as a user with a key."""
    network = Network(httpx.MockTransport(service), lambda: service.now_s, service.sleep)
    environment = {"SPILLWAY_URL": "https://api.test/api", "SPILLWAY_API_KEY": KEY}
    return CliRunner().invoke(app, words, obj=network, env=environment, input=given)


def body_of(request: httpx.Request) -> Any:
    """The JSON that was sent."""
    return json.loads(request.content)


def refusal(status: int, code: str, **headers: str) -> httpx.Response:
    """An error in the API's shape."""
    error = {"message": f"no: {code}", "type": "t", "code": code, "param": "model"}
    return httpx.Response(status, json={"error": error}, headers=headers)


def test_submit_sends_what_the_options_say() -> None:
    """A field that gets lost on the way gives a job that nobody asked for."""
    service = Service(httpx.Response(202, json=JOB))

    result = run(
        service,
        *("submit", "embedder", '{"input": "text"}', "--tier", "batch", "--json"),
        *("--deadline-s", "600", "--webhook", "https://example.com/done"),
        *("--idempotency-key", "k1", "--metadata", '{"run": 7}'),
    )

    assert result.exit_code == 0
    assert json.loads(result.stdout) == JOB
    assert service.asked[0].url == "https://api.test/api/v1/jobs"
    assert service.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    assert service.asked[0].headers["Idempotency-Key"] == "k1"
    assert body_of(service.asked[0]) == {
        "model": "embedder",
        "input": {"input": "text"},
        "tier": "batch",
        "deadline_s": 600,
        "webhook": "https://example.com/done",
        "metadata": {"run": 7},
    }


def test_input_comes_from_words_a_file_or_standard_input(tmp_path: Any) -> None:
    """Real inputs do not fit on a command line."""
    path = tmp_path / "input.json"
    path.write_text('{"input": "from a file"}')
    service = Service(*[httpx.Response(202, json=JOB)] * 3)

    run(service, "submit", "embedder", f"@{path}")
    run(service, "submit", "embedder", "-", given='{"input": "from stdin"}')
    run(service, "submit", "embedder", "--text", "from words")

    assert [body_of(request)["input"]["input"] for request in service.asked] == [
        "from a file",
        "from stdin",
        "from words",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "embedder"),
        ("submit", "embedder", "plain words"),
        ("submit", "embedder", "{}", "--text", "both"),
        ("submit", "embedder", "@/nowhere.json"),
        ("submit", "embedder", "{}", "--metadata", "no json"),
        ("submit", "embedder", "{}", "--wait", "-1"),
        ("status",),
        ("status", "job_a", "--url", ""),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_a_sentence_and_exits_with_2(words: tuple[str, ...]) -> None:
    """A stack trace tells a user nothing, and a script must tell usage from refusal."""
    result = run(Service(), *words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("spillway: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("answer", "exit_code"),
    [
        (refusal(400, "unknown_model"), 1),
        (refusal(404, "not_found"), 1),
        (refusal(409, "finished"), 1),
        (refusal(401, "unauthorized"), 4),
        (refusal(403, "model_not_allowed"), 4),
        (refusal(429, "rate"), 5),
        (refusal(503, "unavailable"), 3),
        (httpx.Response(502, text="<html>Bad Gateway</html>"), 3),
        (httpx.Response(200, text="<html>hello</html>"), 3),
        (httpx.ConnectError("refused"), 3),
    ],
)
def test_every_refusal_has_its_exit_code(answer: Any, exit_code: int) -> None:
    """A pipeline decides by the exit code whether to repeat, wait or stop."""
    words = ("submit", "embedder", "{}")
    told = run(Service(answer), *words)
    as_json = run(Service(answer), *words, "--json")

    assert told.exit_code == as_json.exit_code == exit_code
    assert told.stdout == ""
    assert "Traceback" not in told.stderr
    assert as_json.stderr == ""
    assert json.loads(as_json.stdout)["error"]["message"]
    assert KEY not in told.output + as_json.output


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<?xml version='1.0'?><Error><Code>NoSuchBucket</Code></Error>"),
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(302, headers={"Location": "https://elsewhere.test"}),
        httpx.Response(501, text="<html>Unsupported method</html>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(404, json={"error": {"message": "there is …", "code": "no_path"}}),
    ],
)
def test_what_is_no_spillway_api_is_called_so(answer: httpx.Response) -> None:
    """The wrong port's page tells nobody that it is the wrong port."""
    told = run(Service(answer), "models")
    as_json = run(Service(answer), "submit", "embedder", "{}", "--json")

    assert told.exit_code == as_json.exit_code == 3
    assert "https://api.test/api does not answer as a Spillway API" in told.stderr
    assert not any(word in told.stderr for word in ("<", "NoSuchBucket", "detail"))
    assert json.loads(as_json.stdout)["error"]["code"] == "not_spillway"


def test_a_refusal_says_when_to_come_back() -> None:
    """Whoever is told 'later' without a time asks at once."""
    words = ("submit", "embedder", "{}", "--json")

    result = run(Service(refusal(429, "rate", **{"Retry-After": "17"})), *words)

    assert json.loads(result.stdout)["error"]["retry_after_s"] == 17


def test_waiting_longer_than_the_service_allows_asks_again() -> None:
    """A user who waits two minutes must not be sent home after 25 seconds."""
    onward = httpx.Response(303, json={"id": "job_a", "object": "job", "status": "queued"})
    done = httpx.Response(200, json={**JOB, "status": "completed", "output": [1]})
    service = Service(onward, onward, done, takes_s=25)

    result = run(service, "submit", "embedder", "{}", "--wait", "120", "--json")

    assert service.asked[0].headers["Prefer"] == "wait=25"
    assert [request.url.params.get("wait") for request in service.asked] == [None, "25", "25"]
    assert json.loads(result.stdout)["output"] == [1]


def test_waiting_ends_when_it_was_told_to() -> None:
    """A redirect that is followed for ever holds a script for ever."""
    onward = httpx.Response(303, json={"id": "job_a", "object": "job", "status": "queued"})
    service = Service(onward, onward, httpx.Response(200, json=JOB), takes_s=20)

    result = run(service, "status", "job_a", "--wait", "30", "--json")

    assert [request.url.params.get("wait") for request in service.asked] == ["25", "10", None]
    assert json.loads(result.stdout) == JOB


def test_a_service_too_busy_to_let_us_wait_is_not_hammered() -> None:
    """When every waiting place is taken the service answers at once, again and again."""
    service = Service(*[httpx.Response(202, json=JOB)] * 5)

    run(service, "status", "job_a", "--wait", "3")

    assert len(service.asked) == 4
    assert service.slept_s == 3


def test_a_job_that_fails_while_submit_waits_fails_the_command() -> None:
    """A script that ignores a failed job works on with a result it does not have."""
    failed = {**JOB, "status": "failed", "error": {"code": "model_error", "message": "boom"}}

    told = run(Service(httpx.Response(200, json=failed)), "submit", "embedder", "{}")
    as_json = run(Service(httpx.Response(200, json=failed)), "submit", "embedder", "{}", "--json")

    assert told.exit_code == as_json.exit_code == 1
    assert "boom" in told.stdout
    assert json.loads(as_json.stdout) == failed


def test_cancel_and_status_name_the_job() -> None:
    """The wrong job cancelled is work lost."""
    service = Service(httpx.Response(200, json=JOB), httpx.Response(200, json=JOB))

    run(service, "cancel", "job_a")
    run(service, "status", "job_a")

    assert [(each.method, each.url.path) for each in service.asked] == [
        ("POST", "/api/v1/jobs/job_a/cancel"),
        ("GET", "/api/v1/jobs/job_a"),
    ]


@pytest.mark.parametrize("command", ["status", "cancel"])
@pytest.mark.parametrize("word", ["", "../models", "job_a?wait=1", "job a"])
def test_what_cannot_be_a_jobs_id_is_never_part_of_an_address(command: str, word: str) -> None:
    """`status ../models` asked for something else, and fell over its answer."""
    service = Service()
    result = run(service, command, word)

    assert result.exit_code == 2
    assert "job's id" in result.stderr
    assert not service.asked


def test_models_and_capacity_are_tables_for_people_and_json_for_programs() -> None:
    """Whoever plans a batch run looks at the waits first."""
    models = {
        "object": "list",
        "data": [{"id": "embedder", "state": "live", "versions": {"v1": 1.0}, "tiers": ["batch"]}],
    }
    tiers = {"batch": {"target_wait_s": 3600.0, "predicted_wait_s": 12.5, "waiting": 7}}
    capacity = {"object": "list", "data": [{"model": "chat", "instances": 1, "tiers": tiers}]}

    listed = run(Service(httpx.Response(200, json=models)), "models").stdout
    waits = run(Service(httpx.Response(200, json=capacity)), "capacity").stdout
    as_json = run(Service(httpx.Response(200, json=capacity)), "capacity", "--json").stdout

    assert [word in listed for word in ("embedder", "live", "v1 100%", "batch")] == [True] * 4
    assert [word in waits for word in ("chat", "batch", "12.5", "3600.0", "7")] == [True] * 5
    assert json.loads(as_json) == capacity


def test_the_help_documents_the_exit_codes() -> None:
    """Exit codes that are nowhere written down are guessed."""
    text = CliRunner().invoke(app, ["--help"]).stdout

    for code in ("0", "1", "2", "3", "4", "5", "130", "143"):
        assert f"{code}  " in text
