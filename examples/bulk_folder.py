"""Embeds every text file below a folder. Started again, it goes on where it was.

With `make local` running, and the variables exported that it prints:

    .venv/bin/python examples/bulk_folder.py DOCUMENTS RESULTS

Each DOCUMENTS/x.txt becomes RESULTS/x.txt.json. What is there already is not asked for again; and
whatever was handed in before an interruption is found by its idempotency key, not made twice.
"""

import json
import os
import sys
from pathlib import Path

from spillway import Client

TIMEOUT_S = 24 * 3600


def main(documents: Path, results: Path) -> int:
    """Embed what has no result yet; how many files failed."""
    targets = {
        path: results / f"{path.relative_to(documents)}.json"
        for path in sorted(documents.rglob("*.txt"))
    }
    todo = [path for path, target in targets.items() if not target.exists()]
    inputs = [{"input": path.read_text(encoding="utf-8")} for path in todo]
    print(f"{len(targets)} files, {len(todo)} to do")
    failed = 0
    with Client(os.environ["SPILLWAY_URL"], os.environ["SPILLWAY_API_KEY"]) as client:
        jobs = client.run_many(
            "embedder",
            inputs,
            tier="batch",
            key_prefix=f"bulk-{documents.resolve().name.replace(' ', '-')}",
            timeout_s=TIMEOUT_S,
            progress=True,
        )
        for path, job in zip(todo, jobs, strict=True):
            if job.completed:
                save(targets[path], json.dumps(client.output(job)))
            else:
                failed += 1
                print(f"{path}: {job.status}: {job.error.message if job.error else ''}")
    return failed


def save(target: Path, text: str) -> None:
    """Write a result as a whole or not at all: half of one would count as done."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(target)


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]), Path(sys.argv[2]))))
