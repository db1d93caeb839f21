"""Installs the wheels of a folder into empty environments and runs them: ``python -m tests.distribution dist``.

Each command runs in an empty folder outside the repository. Packages come from the index that pip is configured with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISCONFIGURED = 78
OF_THE_SERVICE = {
    "up": "devstack", "demo": "devstack", "worker": "worker", "api": "api", "controller": "api", "migrate": "api",
    "keys list": "api", "users list": "api", "secrets rotate": "api",
}  # fmt: skip
"""Command → the extra that its error names."""
START_SECONDS = 60.0


class Environment:
    """An empty virtual environment and an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "venv/bin"
        self._cwd = folder / "empty"
        self._cwd.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIXELFLOW_", "PYTHON"))}
        # As on a machine without libvips's headers, against which pip would build pyvips: docs/install.md.
        self._variables = kept | {"PKG_CONFIG": "false", "PIXELFLOW_HOME": str(folder / "home"), "COLUMNS": "200"}
        self._variables |= {"HOME": str(folder)}
        venv.create(folder / "venv", with_pip=True)

    def install(self, *requirements: str) -> None:
        """Install ``requirements`` and print the time it took and the size."""
        started = time.monotonic()
        self.run("pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
        site = self._bin.parent
        size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and not path.is_symlink())
        print(f"  installed in {time.monotonic() - started:.1f} s; the environment has {size / 1e6:.0f} MB")
        self.run("pip", "check", "--disable-pip-version-check")

    def run(self, *command: str, exit_code: int = 0) -> str:
        """Run a program of the environment and return its output.

        Raises:
            AssertionError: another exit code, or a traceback.
        """
        done = subprocess.run(
            [str(self._bin / command[0]), *command[1:]],
            cwd=self._cwd, env=self._variables, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert "Traceback" not in output, output
        assert done.returncode == exit_code, f"{command}: {done.returncode}\n{output}"
        return output

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program beside others, and end it as Ctrl-C does."""
        process = subprocess.Popen(
            [str(self._bin / command[0]), *command[1:]],
            cwd=self._cwd, env=self._variables, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(30) == 0


def check_the_client(folder: Path, client: Path) -> None:
    """The SDK alone, then with the command line: what is missing is named."""
    print("client")
    environment = Environment(folder)
    environment.install(str(client))
    environment.run("python", "-c", "from pixelflow.client import Client, AsyncClient")
    assert "'pixelflow-client[cli]'" in environment.run("pixelflow", "--version", exit_code=MISCONFIGURED)
    print("client with its command line")
    environment.install(f"{client}[cli]")
    for command, extra in OF_THE_SERVICE.items():
        output = environment.run("pixelflow", *command.split(), exit_code=MISCONFIGURED)
        assert output.count("\n") == 1, output
        assert f"pip install 'pixelflow-server[{extra}]'" in output, output
    environment.run("pixelflow", "doctor")


def check_the_service(folder: Path, server: Path, client: Path) -> None:
    """Demo, stack, doctor, and the SDK without arguments."""
    print("service")
    environment = Environment(folder)
    environment.install(f"{server}[devstack]", str(client))
    started = time.monotonic()
    assert "hero_marked" in environment.run("pixelflow", "demo")
    print(f"  demo: {time.monotonic() - started:.1f} s")
    with environment.running("pixelflow", "up", "--api-port", "0", "--metrics-port", "0") as stack:
        _wait_for_the_api(environment, stack)
        print("  " + environment.run("pixelflow", "doctor").splitlines()[-1])
        environment.run("python", "-c", "from pixelflow.client import Client; Client().list_jobs()")


def _wait_for_the_api(environment: Environment, stack: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            environment.run("pixelflow", "jobs", "list")
        except AssertionError:
            if stack.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def main(folder: Path) -> None:
    """Check the wheels in ``folder``."""
    [client] = folder.absolute().glob("pixelflow_client-*.whl")
    [server] = folder.absolute().glob("pixelflow_server-*.whl")
    # Not below a folder that only its owner can enter: the servers run as another user if root starts them.
    with tempfile.TemporaryDirectory(prefix="pixelflow-dist-") as temporary:
        Path(temporary).chmod(0o755)
        check_the_client(Path(temporary, "client"), client)
        check_the_service(Path(temporary, "service"), server, client)
    print("both wheels work in empty environments")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
