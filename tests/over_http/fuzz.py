"""`make fuzz`: holds the API against its description with many more requests than the tests send.

Each round sends other ones; what contradicts the description is shown in its smallest form.
"""

import argparse
import sys
import time
import traceback

from schemathesis.core.failures import Failure, FailureGroup

from tests.over_http.conforming import Api, described, description, explore
from tests.over_http.conftest import Models, deployed

ROUNDS_MAX = 10_000


def main() -> int:
    """Explore every operation until the time is over; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--examples", type=int, default=20, help="of each kind and round")
    parser.add_argument("--only", default="", help="operations whose verb and path contain this")
    asked = parser.parse_args()
    chosen = [each for label, each in described(description()).items() if asked.only in label]
    until_s, found = time.monotonic() + 60 * asked.minutes, 0
    with deployed(Models()) as service, Api.of(service) as api:
        for number in range(ROUNDS_MAX):
            for operation in chosen:
                if time.monotonic() > until_s:
                    print(f"{found} contradictions; {number} rounds were full")
                    return int(found > 0)
                try:
                    explore(operation, api, examples=asked.examples, deterministic=False)
                except (Failure, FailureGroup, AssertionError):
                    found += 1
                    print(f"contradicted: {operation.label}")
                    traceback.print_exc(limit=0)
                else:
                    print(f"ok: {operation.label}", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
