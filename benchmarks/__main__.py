"""Everything: all benchmarks one after the other, then the page.

python -m benchmarks            # see --help; --quick only tries whether it all runs
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
    results = chosen.output / "results.json"
    results.unlink(missing_ok=True)  # nothing of an earlier run is to be on the page
    arguments = [
        "--output",
        str(chosen.output),
        "--threads",
        str(chosen.threads),
        *(["--quick"] if chosen.quick else []),
    ]
    for part in PARTS:
        main(part, arguments)
    write(json.loads(results.read_text()), chosen.docs)
    print(f"wrote {chosen.docs / 'benchmarks.md'}")


if __name__ == "__main__":
    everything()
