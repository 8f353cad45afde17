"""Jobs of the profile ``kubernetes``, as a stand-in for the server of its API sees them, and what their commands do."""

import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / ".venv/plugins/kubernetes"
COPIED = ("Snakefile", "config", "workflow", "src")
TARGET = "results/smoke/runs/solve_charbonnier/cycle-1/points-256/record.json"
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: anybody, user: {{}}}}]
contexts: [{{name: here, context: {{cluster: here, user: anybody}}}}]
current-context: here
"""


class Server(ThreadingHTTPServer):
    """Takes jobs and runs the commands of their containers on this machine, each in an empty directory."""

    def __init__(self, directory, environment):
        super().__init__(("127.0.0.1", 0), Requests)
        self.directory, self.environment = directory, environment
        self.jobs, self.processes = {}, {}

    def start_job(self, body):
        name, (container,) = body["metadata"]["name"], body["spec"]["template"]["spec"]["containers"]
        place = self.directory / name
        place.mkdir()
        with (self.directory / f"{name}.log").open("w") as log:
            command = [*container["command"], *container["args"]]
            process = subprocess.Popen(command, cwd=place, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        self.jobs[name], self.processes[name] = body, process

    def state(self, name):
        status = self.processes[name].poll()
        return {"active" if status is None else "failed" if status else "succeeded": 1}


class Requests(BaseHTTPRequestHandler):
    """What Snakemake asks the server of the API."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/jobs"):
            self.server.start_job(body)
        self._answer(201, body)

    def do_GET(self):
        _, is_job, rest = self.path.partition("/jobs/")
        name = rest.partition("/")[0]
        self._answer(200, {"metadata": {}, "status": self.server.state(name)} if is_job else {"items": []})

    def do_DELETE(self):
        self._answer(200, {"kind": "Status", "status": "Success"})

    def _answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def environment(tmp_path):
    """That of Snakemake and of jobs; in the image everything is installed, so that there is nothing to install."""
    reasons = {"no rsync": shutil.which("rsync"), "no plugins: make .venv/plugins/kubernetes": PLUGINS.is_dir()}
    if missing := [reason for reason, found in reasons.items() if not found]:
        if os.environ.get("KUBERNETES") == "required":
            pytest.fail(f"{', '.join(missing)}, but KUBERNETES=required")
        pytest.skip(", ".join(missing))
    (tmp_path / "bin").mkdir()
    pip = tmp_path / "bin/pip"
    pip.write_text("#!/bin/sh\n")
    pip.chmod(0o755)
    programs = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    modules = [str(tmp_path / "project/src"), str(PLUGINS)]
    return os.environ | {
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.pathsep.join(modules),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def server(tmp_path, environment):
    (tmp_path / "pods").mkdir()
    found = Server(tmp_path / "pods", environment)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(port=found.server_port))
    thread = Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()
    for process in found.processes.values():
        process.kill()
        process.wait()


def test_jobs_of_kubernetes_ask_for_what_they_need_and_leave_their_results(tmp_path, environment, server):
    (project := tmp_path / "project").mkdir()
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, project / name)
    for command in (["init", "-q"], ["add", "."]):  # Snakemake deploys what git knows
        subprocess.run(["git", *command], cwd=project, check=True)
    options = ["--workflow-profile", "workflow/profiles/kubernetes", "--default-storage-prefix", str(project)]
    options += ["--retries", "0", "--config", "tier=smoke", "out=results/smoke", "--", TARGET]
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", *options], cwd=project, env=environment, capture_output=True, text=True
    )
    logs = "".join(path.read_text() for path in server.directory.glob("*.log"))
    assert run.returncode == 0, run.stdout + run.stderr + logs
    asked = {"cpu": "950m", "memory": "2000M", "ephemeral-storage": "2000M", "nvidia.com/gpu": "0"}
    for body, rule in zip(server.jobs.values(), ("tune", "train"), strict=True):
        pod = body["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert f"--allowed-rules {rule} " in container["args"][1]
        assert container["image"] == "registry.example/schemenets:latest"
        assert container["resources"]["requests"] == asked
        assert {"name": "schemenets", "mountPath": "/mnt/schemenets"} in container["volumeMounts"]
        assert {"name": "schemenets", "persistentVolumeClaim": {"claimName": "schemenets"}} in pod["volumes"]
    made = project / "results/smoke"
    alone = [sys.executable, "-m", "schemenets", "train", "solve_charbonnier/cycle-1/points-256", "--tier", "smoke"]
    shutil.copytree(made, project / "alone", ignore=lambda path, names: {"runs"} & set(names))
    subprocess.run([*alone, "--out", "alone"], cwd=project, env=environment, check=True, capture_output=True)
    weights = Path(TARGET).relative_to("results/smoke").with_name("weights.safetensors")
    assert (made / weights).read_bytes() == (project / "alone" / weights).read_bytes()
