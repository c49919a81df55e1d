"""Install the peers of the race, each in a virtual environment of its own.

    python -m benchmarks.install              # all of them
    python -m benchmarks.install torch jax    # these

They go to benchmarks/environments. To remove one, delete its folder.
"""

import argparse
import subprocess
import venv

from .environments import ENVIRONMENTS, REQUIREMENTS, interpreter_in, names


def install(environment: str) -> None:
    """Create the environment, or bring it up to date."""
    print(f"installing {environment}", flush=True)
    if not interpreter_in(environment).exists():
        venv.create(ENVIRONMENTS / environment, with_pip=True)
    pip = [str(interpreter_in(environment)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(REQUIREMENTS / f"{environment}.txt")], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; without any, all of them")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"install expects names of {', '.join(names())}, received {', '.join(unknown)}.")
    failed = []
    for name in options.names or names():
        try:
            install(name)
        except subprocess.CalledProcessError as error:
            failed.append(f"{name}: pip ended with status {error.returncode}; its messages are above.")
    if failed:
        parser.exit(1, "\n".join(failed) + "\nThe race runs with the others.\n")


if __name__ == "__main__":
    main()
