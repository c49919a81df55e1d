"""Everything: all benchmarks one after the other, then the page.

python -m benchmarks            # see --help; --quick only tries whether it all runs
"""

import json

from .page import DOCS, PARTS, write
from .results import main, parser


def everything() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--docs", type=type(DOCS), default=DOCS, help="the folder that gets benchmarks.md (default: docs)"
    )
    chosen = options.parse_args()
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
