"""A real SLURM on loopback: two emulated nodes, its own configuration, everything in one folder."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "scancel")
SBIN = "/usr/sbin:/sbin"

CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CryptoType=crypto/munge
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
MinJobAge={remembers}
UnkillableStepTimeout=20
BatchStartTimeout=60
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2,default_queue_depth=500,defer_batch
PriorityType=priority/basic
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
RequeueExit=199
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs={cpus} RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs={cpus} RealMemory=8000
PartitionName=work Nodes=n1,n2 Default=YES MaxTime=UNLIMITED State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=n1,n2 Default=NO MaxTime=UNLIMITED State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing():
    """Return why no SLURM can be started here; empty when one can."""
    if os.geteuid() != 0:
        return "a SLURM of the test's own needs root"
    path = f"{os.environ['PATH']}:{SBIN}"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)"
    return ""


class Site:
    """One running SLURM; `environment` makes its commands and submitit talk to it."""

    def __init__(self, folder, *, cpus=2, remembers=300):
        self.folder = Path(folder)
        ports = free_ports(3)
        host = socket.gethostname().split(".")[0]
        self.folder.chmod(0o755)
        for name in ("state", "spool-n1", "spool-n2", "munge"):
            (self.folder / name).mkdir(mode=0o755)
        self.configuration = self.folder / "slurm.conf"
        self.configuration.write_text(
            CONFIGURATION.format(
                host=host, folder=self.folder, controller=ports[0], n1=ports[1], n2=ports[2],
                cpus=cpus, remembers=remembers,
            )
        )  # fmt: skip
        self.environment = {
            "SLURM_CONF": str(self.configuration),
            "PATH": f"{os.environ['PATH']}:{SBIN}",
        }
        self.processes = {}

    def start(self):
        """Start munge, the controller and both nodes; raise when they do not come up."""
        munge = self.folder / "munge"
        key = munge / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self._spawn(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={munge}/socket", f"--pid-file={munge}/pid", f"--log-file={munge}/log",
            f"--seed-file={munge}/seed", "--num-threads=2",
        )  # fmt: skip
        self.wait_for(lambda: (munge / "socket").exists(), "munged")
        self._spawn("slurmctld", "slurmctld", "-D", "-c")
        self.start_node("n1")
        self.start_node("n2")
        self.wait_for(lambda: self.idle() == 2, "both nodes idle")
        return self

    def start_node(self, name):
        self._spawn(name, "slurmd", "-D", "-N", name)

    def kill_node(self, name):
        """End a node's daemon, and what ran there, as when its power goes."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        for pid in self._of_node(name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _of_node(self, name):
        mark = f"SLURMD_NODENAME={name}".encode()
        conf = f"SLURM_CONF={self.configuration}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                facts = (entry / "environ").read_bytes().split(b"\0")
                title = (entry / "cmdline").read_bytes()
                if (mark in facts and conf in facts) or (
                    title.startswith(b"slurmstepd") and conf in facts
                ):
                    found.append((entry, int(entry.name)))
        return [pid for entry, pid in found]

    def idle(self):
        answer = self.run("sinfo", "-h", "-N", "-p", "work", "-o", "%T")
        return sum(line.strip() == "idle" for line in answer.splitlines())

    def run(self, *command, check=False):
        answer = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True,
            timeout=60, check=check,
        )  # fmt: skip
        return answer.stdout + answer.stderr

    def queue(self):
        """Return {job: state} of everything that SLURM remembers."""
        lines = self.run("squeue", "-h", "--array", "--states=all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines if len(line.split()) == 2)

    def stop(self):
        self.run("scancel", "--user=root")
        for name in ("n1", "n2", "slurmctld", "munged"):
            process = self.processes.pop(name, None)
            if process is not None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for pid in self._of_node("n1") + self._of_node("n2"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _spawn(self, name, *command):
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                command, env={**os.environ, **self.environment}, stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def wait_for(self, done, what, seconds=40.0):
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                logs = "\n".join(
                    f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
                    for path in sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
                )
                raise RuntimeError(f"waited {seconds:g} s for: {what}\n{logs}")
            time.sleep(0.2)


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
