"""A cluster of one node with a GPU in name, on this machine: real daemons of SLURM, started and ended by the tests.

It needs root and the packages ``slurm-wlm`` and ``munge``, and writes to /etc/slurm, where the daemons look; so it
refuses to start where a configuration is there already.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "sbatch", "scancel")
CONFIGURATION = Path("/etc/slurm")
# in name, so that jobs which ask for more at every attempt do not wait for each other
MEGABYTES, CPUS = 32_000, 4
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
MinJobAge=3600
KillWait=2
ReturnToService=2
MailProg=/bin/true
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=24:00:00 State=UP
PartitionName=gpus Nodes={host} MaxTime=24:00:00 State=UP
"""
GRES = "NodeName={host} Name=gpu File=/dev/null\n"


def missing() -> str:
    """Why no cluster can be started here; empty if one can."""
    if lacking := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"SLURM is not installed: no {', '.join(lacking)}"
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return "Snakemake has no plugin for SLURM: make test-slurm has"
    if os.getuid() != 0:
        return "the daemons of SLURM need root"
    if any((CONFIGURATION / name).exists() for name in ("slurm.conf", "gres.conf")):
        return f"{CONFIGURATION} holds the configuration of another cluster"
    return ""


class Cluster:
    """The daemons, with all their files in a directory."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def start(self) -> None:
        """Write the configuration and start everything; returns when the node is idle."""
        for name in ("state", "spool"):
            (self.run / name).mkdir(parents=True)
        key = self.run / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.run.chmod(0o755)
        values = {"host": socket.gethostname().split(".")[0], "run": self.run, "cpus": CPUS, "megabytes": MEGABYTES}
        CONFIGURATION.mkdir(exist_ok=True)
        (CONFIGURATION / "slurm.conf").write_text(CONF.format(**values))
        (CONFIGURATION / "gres.conf").write_text(GRES.format(**values))
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
        options = [f"--{option}={self.run / name}" for option, name in {**files, "seed-file": "munge.seed"}.items()]
        subprocess.run(["munged", "--force", *options], check=True)
        self.start_controller()
        subprocess.run(["slurmd"], check=True)
        wait(lambda: self.answer("sinfo", "--noheader", "--format=%T") == "idle", "the node is idle")

    def start_controller(self) -> None:
        """Start the controller, also after :meth:`end`."""
        subprocess.run(["slurmctld"], check=True)

    def end(self, daemon: str) -> None:
        """End a daemon by the number that it left in a file."""
        path = self.run / f"{daemon}.pid"
        if path.is_file() and (number := path.read_text().strip()):
            subprocess.run(["kill", number], check=False)
            wait(lambda: not Path(f"/proc/{number}").exists(), f"{daemon} has ended")

    def stop(self) -> None:
        """End all jobs and daemons, and remove the configuration."""
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        with suppress(TimeoutError):  # daemons end whatever is left
            wait(lambda: not self.answer("squeue", "--noheader"), "all jobs have ended", seconds=20)
        for daemon in ("slurmd", "slurmctld", "munged"):
            self.end(daemon)
        for name in ("slurm.conf", "gres.conf"):
            (CONFIGURATION / name).unlink(missing_ok=True)

    def answer(self, *command: str) -> str:
        """What a command prints; empty while the controller does not answer."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def jobs(self, directory: Path, *states: str, rule: str = "") -> list[str]:
        """Numbers of the jobs in this directory that are in one of these states, of one rule or of all."""
        lines = self.answer("squeue", "--noheader", f"--states={','.join(states)}", "--format=%i|%k|%Z").splitlines()
        jobs = [line.split("|", 2) for line in lines]
        return [number for number, comment, at in jobs if Path(at) == directory and comment.startswith(f"rule_{rule}")]


def wait(condition: Callable[[], bool], what: str, seconds: float = 600) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it takes too long.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:g} s it does not hold that {what}")
        time.sleep(0.2)
