"""How long submit takes to start: import and first event, against a bare boto3 handler.

Both run in fresh processes, one after the other in turn. The bare handler makes the same clients
with the same settings and sends the same requests; a small server on this machine, the same for
both, plays AWS and answers at once.
"""

import json
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.options import ROOT, Options
from benchmarks.report import Figure, Report, Rows, compared, spread
from benchmarks.requests_made import environment, post

RECORD = """
import pickle, sys
import boto3
from benchmarks.recording import Recorded, RecordingSession
from lambdas.handlers.submit import handle
import json, os, time
recorded = Recorded()
session = RecordingSession(boto3.Session(), recorded)
answer = handle.environment(environ=os.environ, session=session, sleep=time.sleep)(
    json.load(open(sys.argv[1])), None
)
assert answer["statusCode"] == 202, answer
pickle.dump((recorded.clients, recorded.calls), open(sys.argv[2], "wb"))
"""
OURS = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import json, sys
from lambdas.handlers.submit import handle
imported = time.perf_counter()
answer = handle(json.load(open(sys.argv[1])), None)
ended, used = time.perf_counter(), time.process_time()
assert answer["statusCode"] == 202, answer
print(json.dumps([imported - wall, ended - wall, used - cpu]))
"""
BARE = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import json, pickle, sys
import boto3
from botocore.config import Config
imported = time.perf_counter()
event = json.load(open(sys.argv[1]))
made, calls = pickle.load(open(sys.argv[2], "rb"))
session = boto3.Session()
clients = [session.client(name, region_name=at, config=Config(**of)) for name, at, of in made]
document = json.loads(event["body"])
for number, operation, params in calls:
    clients[number]._make_api_call(operation, params)
json.dumps({"statusCode": 202, "body": json.dumps(document)})
ended, used = time.perf_counter(), time.process_time()
print(json.dumps([imported - wall, ended - wall, used - cpu]))
"""

ANSWERS: dict[str, dict[str, Any]] = {
    "UpdateItem": {"Attributes": {"submissions": {"N": "1"}}},
    "SendMessage": {"MessageId": "m", "MD5OfMessageBody": "0" * 32},
}


class _Aws(BaseHTTPRequestHandler):
    """Answers what submit asks, as shortly as AWS could."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One request of the JSON protocols."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        body = json.dumps(ANSWERS.get(operation, {})).encode()
        self.send_response(200 if operation else 202)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def aws() -> Iterator[str]:
    """The server, while it is needed; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Aws)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def run(options: Options) -> Report:
    """Start both in turn."""
    report = Report("cold_start", "Cold start of submit")
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder, aws() as address:
        event, calls = Path(folder) / "event.json", Path(folder) / "calls"
        event.write_text(json.dumps(post()), encoding="utf-8")
        environ = {
            **environment(Path(folder)),
            "AWS_ENDPOINT_URL": address,
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin:/bin",
        }

        def start(script: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", script, str(event), str(calls)],
                env=environ, cwd=folder, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout

        def timed(script: str) -> list[float]:
            # submit logs to the same place, before it.
            return [float(each) for each in json.loads(start(script).splitlines()[-1])]

        start(RECORD)
        for number in range(options.runs + 1):
            pair = (timed(OURS), timed(BARE)) if number % 2 else (timed(BARE), timed(OURS))[::-1]
            if number:  # The first pair writes and reads caches.
                ours.append(pair[0])
                bare.append(pair[1])
        made, sent = pickle.loads(calls.read_bytes())  # noqa: S301 our own
    rows = []
    for title, place in (("import", 0), ("import and first event", 1), ("processor time", 2)):
        mine, theirs = [each[place] for each in ours], [each[place] for each in bare]
        times = f"{compared(mine, theirs):.2f}"
        rows.append((title, *spread(mine, 1000, 0), *spread(theirs, 1000, 0), times))
    columns = ("milliseconds", "submit", "least", "most", "bare", "least", "most", "ratio")
    report.tables.append(Rows(f"{options.runs} alternating runs", columns, rows))
    ratio = compared([each[1] for each in ours], [each[1] for each in bare])
    what = f"{len(made)} clients ({', '.join(name for name, *_ in made)}), {len(sent)} calls"
    report.figures.append(
        Figure(what="cold start", value=ratio, unit="x", target=1.5, floor=f"bare boto3, {what}")
    )
    return report
