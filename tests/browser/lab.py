"""A JupyterLab of the tests' own: its folder, its settings, its port; nothing of the user's is read or written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .chromium import PATIENCE

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is drawn, also those out of sight
}


@dataclass(frozen=True)
class Lab:
    """A server at `url`, whose files are in `files` and whose kernels say in `runtime` where they are."""

    url: str
    files: Path
    runtime: Path

    def ask(self, code: str, *expressions: str, timeout: float = 120) -> list[Any]:
        """Runs code in the only kernel, as a console would, and says what some expressions of JSON are after it."""
        from jupyter_client.blocking import BlockingKernelClient

        (connection,) = self.runtime.glob("kernel-*.json")
        client = BlockingKernelClient(connection_file=str(connection))
        client.load_connection_file()
        client.start_channels()
        try:
            told = {str(i): f"__import__('json').dumps({text})" for i, text in enumerate(expressions)}
            client.execute(code, silent=True, store_history=False, user_expressions=told, reply=False)
            said = client.get_shell_msg(timeout=timeout)["content"]
        finally:
            client.stop_channels()
        if said["status"] != "ok":
            raise RuntimeError(f"the kernel said {said['ename']}: {said['evalue']}")
        texts = [said["user_expressions"][key]["data"]["text/plain"] for key in told]
        return [json.loads(eval(text)) for text in texts]  # a repr of a str


@contextmanager
def jupyterlab(folder: Path, files: Path) -> Iterator[Lab]:
    """A server for some files that ends with the block; all it writes of its own goes to `folder`."""
    for name, said in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    env = os.environ | {name: str(folder / place) for name, place in own.items()}
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.root_dir": files,
        "IdentityProvider.token": "", "ServerApp.disable_check_xsrf": True, "ServerApp.allow_root": True,
        "LabApp.user_settings_dir": folder / "settings", "LabApp.workspaces_dir": folder / "workspaces",
        "LabApp.extension_manager": "readonly", "ServerApp.iopub_data_rate_limit": 1e9,
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser"]
    command += [f"--{name}={value}" for name, value in options.items()]
    log = folder / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/api/status", server, log)
            yield Lab(url, files, folder / "runtime")
        finally:
            server.terminate()  # it ends its kernels
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


IDLE = """() => {
  const kernel = window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel;
  return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""
# cells with source that have not got a number yet: what is still to be run
LEFT = """() => window.jupyterapp.shell.currentWidget.content.widgets.filter(({ model }) =>
  model.type === "code" && model.sharedModel.source.trim() && model.executionCount === null).length"""
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .flatMap(({ model }) => (model.type === "code" ? model.outputs.toJSON() : []))
  .filter((output) => output.output_type === "error").map((output) => `${output.ename}: ${output.evalue}`)"""


def open_notebook(page: Any, lab: Lab, name: str) -> None:
    """Opens a notebook and waits until its kernel is idle."""
    page.goto(f"{lab.url}/lab/tree/{name}?reset")
    page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.content?.widgets?.length > 0")
    page.wait_for_function(IDLE)


def run_all(page: Any, timeout: float = 400_000) -> None:
    """Runs every cell from cleared outputs, and waits until the last one is done; an error in a cell is raised."""
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.wait_for_function(f"() => ({LEFT})() > 0")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(f"() => ({ERRORS})().length > 0 || (({LEFT})() === 0 && ({IDLE})())", timeout=timeout)
    if said := page.evaluate(ERRORS):
        raise RuntimeError(f"the notebook raised {said[0]}")
