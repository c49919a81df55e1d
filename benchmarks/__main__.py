"""Everything: all benchmarks one after the other, then the page.

    python -m benchmarks            # --quick only tries whether it all runs

It takes hours, some gigabytes of memory, and for the other libraries (python -m benchmarks.install) some of disk. An earlier
result stays until each new part is whole. For this machine alone, in about a minute: python -m minidl.benchmark.
"""

import json
import tempfile
from pathlib import Path

from .page import DOCS, PARTS, write
from .results import main, parser


def everything() -> None:
    options = parser(__doc__)
    options.add_argument("--docs", type=Path, default=DOCS, help="the folder that gets benchmarks.md (default: docs)")
    chosen = options.parse_args()
    if chosen.quick:  # what it measures is not to replace a real result
        chosen.output = chosen.docs = Path(tempfile.mkdtemp(prefix="minidl-benchmarks-"))
    arguments = [
        "--output",
        str(chosen.output),
        "--threads",
        str(chosen.threads),
        *(["--quick"] if chosen.quick else []),
    ]
    for part in PARTS:
        main(part, arguments)
    write(json.loads((chosen.output / "results.json").read_text()), chosen.docs)
    print(f"wrote {chosen.docs / 'benchmarks.md'}")


if __name__ == "__main__":
    everything()
