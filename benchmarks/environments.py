"""The peers' virtual environments: one a requirement file, so that no library's dependencies are in another's way."""

import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements"
ENVIRONMENTS = HERE / "environments"


def names() -> list[str]:
    """The environments that can be installed."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def interpreter_in(environment: str) -> Path:
    """Where that environment's interpreter is, or would be."""
    folder = ENVIRONMENTS / environment
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"


@cache
def interpreter_for(environment: str, packages: tuple[str, ...]) -> str | None:
    """An interpreter that has these packages: the environment's, else this very one, else None."""
    own = interpreter_in(environment)
    return next((path for path in (str(own), sys.executable) if _has(path, packages)), None)


def _has(interpreter: str, packages: tuple[str, ...]) -> bool:
    """Whether the interpreter exists and finds all the packages. Nothing is imported: that would take seconds each."""
    code = "import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))"
    try:
        return subprocess.run([interpreter, "-c", code, *packages], cwd=HERE.parent).returncode == 0
    except FileNotFoundError:
        return False
