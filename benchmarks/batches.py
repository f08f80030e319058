"""How fast the lines of a batch become jobs, made one after the other.

On the twin's virtual clock: the seconds are those of the latencies that it assumes, of a strongly
consistent table in three regions. The tenant may have so many jobs unfinished that none waits.
"""

import json

from benchmarks.options import ROOT, Options
from benchmarks.report import Figure, Report, Rows
from config.schema import load
from lambdas.domain.batch_lines import LINES_MAX
from lambdas.domain.batches import WINDOW_S
from spillway import local
from spillway.directory import add_tenant
from spillway.twin.calls import Call

CONFIG = ROOT / "config" / "dev.yaml"
LINES = 1000
"""As many as are made ahead: none of them waits for the model."""
BOOT_S = 90
STEP_S = 5.0
STEPS_MAX = 200
SLOW_WRITE_S = 0.1
"""Of a table whose regions are far from each other."""
PART_OF_WINDOW = 1 / 12
"""Of a day, for the making of the largest batch: two hours, which leave the models the rest."""


def file() -> bytes:
    """The lines."""
    lines = (
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "chat", "messages": [{"role": "user", "content": f"Line {number}."}]},
        }
        for number in range(LINES)
    )
    return "\n".join(map(json.dumps, lines)).encode()


def run(options: Options) -> Report:
    """Have one batch made, and watch its jobs."""
    del options
    deployment = load(CONFIG)
    report = Report("batches", "A batch becomes jobs")
    with local.start(CONFIG, virtual=True) as twin:
        key = add_tenant(local.directory(twin, deployment), "bulk", in_flight_max=10 * LINES)
        twin.scheduler.run_for(BOOT_S)
        with twin.api(deployment.primary_region) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            brought = client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", file())}
            )
            asked = {
                "input_file_id": brought.json()["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            }
            client.post("/v1/batches", json=asked).raise_for_status()
        puts: list[Call] = []
        for _ in range(STEPS_MAX):
            twin.scheduler.run_for(STEP_S)
            mine = [call for call in twin.hook.log if call.function.endswith("-batches")]
            puts = [call for call in mine if call.operation == "PutItem"]
            if len(puts) >= LINES:
                break
    assert len(puts) == LINES, len(puts)
    seconds = puts[-1].ended_s - puts[0].at_s
    puts_s = sum(call.ended_s - call.at_s for call in puts)
    rate = LINES / seconds
    whole_s = LINES_MAX / rate
    report.tables.append(
        Rows(
            f"{LINES} lines of one model, three regions",
            ("what", "value"),
            [
                ("until all jobs are made", f"{seconds:.1f} s"),
                ("jobs a second", f"{rate:.1f}"),
                ("part of it: writes of jobs", f"{puts_s / seconds:.0%}"),
                ("one of them, as the twin assumes", f"{1000 * puts_s / LINES:.0f} ms"),
                (f"{LINES_MAX:,} lines at that rate", f"{whole_s / 60:.0f} min"),
            ],
        )
    )
    report.figures.append(
        Figure(
            what=f"jobs of {LINES_MAX:,} lines",
            value=whole_s / 3600,
            unit="h",
            target=WINDOW_S * PART_OF_WINDOW / 3600,
            floor="a twelfth of the window",
        )
    )
    slow_s = LINES_MAX * (SLOW_WRITE_S + (seconds - puts_s) / LINES)
    report.notes.append(
        f"If a write took {1000 * SLOW_WRITE_S:.0f} ms, {LINES_MAX:,} lines would take "
        f"{slow_s / 3600:.1f} h."
    )
    return report
