"""Counts that outlive the process: a long run may be stopped at any moment, and the next one goes on from what is kept."""

import json
from collections import Counter
from pathlib import Path

from minidl import saving


class Counts(Counter[str]):
    """Counts by name. path: the JSON file that they begin with, if it exists, and that keep() writes; None for no file."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(json.loads(path.read_text()) if path is not None and path.exists() else {})
        self.path = path

    def keep(self) -> None:
        """Write the file completely or not at all: this process may be killed now."""
        if self.path is not None:
            saving.replace(self.path, json.dumps(self, indent=1, sort_keys=True).encode())
