"""How long synthesis takes, against a minimal application of three stacks with a queue each.

Both are fresh processes of the same Python and Node, in turn, with the same feature flags: those
of a new project. jsii loading aws-cdk-lib is most of the floor.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.options import ROOT, Options
from benchmarks.report import Figure, Report, Rows, compared, spread

MINIMAL = """
import json, sys
from stacks.node import node_binary
node_binary()
import aws_cdk as cdk
from aws_cdk import aws_sqs as sqs
context = json.load(open("cdk.json"))["context"]
app = cdk.App(analytics_reporting=False, outdir=sys.argv[1], context=context)
for number in range(3):
    stack = cdk.Stack(
        app, f"Stack{number}", env=cdk.Environment(account="123456789012", region="us-east-1")
    )
    sqs.Queue(stack, "Queue")
app.synth()
"""


def run(options: Options) -> Report:
    """Synthesize both in turn."""
    report = Report("synth", "Synthesis of config/dev.yaml")
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CDK_CONTEXT_JSON": json.dumps({"config": str(ROOT / "config" / "dev.yaml")}),
        }

        def seconds(number: int, *command: str) -> float:
            out = Path(folder) / f"{number}"
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, *command, str(out)],
                env={**environ, "CDK_OUTDIR": str(out)},
                cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            took = time.perf_counter() - began
            assert done.returncode == 0, done.stderr[-2000:]
            assert (out / "manifest.json").exists()
            return took

        ours, floor = [], []
        for number in range(options.runs):
            ours.append(seconds(2 * number, str(ROOT / "app.py")))
            floor.append(seconds(2 * number + 1, "-c", MINIMAL))
    rows = [("config/dev.yaml", *spread(ours, 1, 2)), ("minimal", *spread(floor, 1, 2))]
    columns = ("seconds", "median", "least", "most")
    report.tables.append(Rows(f"{options.runs} alternating runs", columns, rows))
    report.figures.append(
        Figure(
            what="synth", value=compared(ours, floor), unit="x", target=2.0, floor="three stacks"
        )
    )
    return report
