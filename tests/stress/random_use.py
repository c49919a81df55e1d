"""The state machine of tests/test_state_machine.py with other random calls in every run, as many as there is time for.

python tests/stress/random_use.py --examples 2000
"""

import argparse
import contextlib
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from test_state_machine import RandomUse

from minidl.engine import runner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    runner.WORTH_A_THREAD = 1  # as in tests/conftest.py
    ends: Counter[str] = Counter()

    class Counted(RandomUse):
        def teardown(self):
            super().teardown()
            ends["examples"] += 1
            ends["calls that changed the model"] += len(self.log)
            ends["steps of training"] += self.steps
            ends["models that were trained"] += self.steps > 0

    chosen = settings(
        max_examples=options.examples,
        stateful_step_count=options.steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        run_state_machine_as_test(Counted, settings=chosen)
    print(*(f"{count} {what}" for what, count in ends.items()), sep="\n")


if __name__ == "__main__":
    main()
