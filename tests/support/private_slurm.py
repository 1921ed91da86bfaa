"""A real SLURM for tests: slurmctld, munged and two slurmd on this machine, on loopback, for this user alone.

It needs Debian's slurm-wlm and munge, no systemd, no cgroups and no running daemon, and starts in about two seconds.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.support.processes import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo", "scancel")
NODES = 2
CPUS = 8  # of each node, whatever the machine has
GPUS = 4  # of each node: device files that do nothing

CONFIG = """\
ClusterName=timecat-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# a requeued job waits until its credential has expired, by default 120 s; 5 is the least that counts
AuthInfo=socket={root}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdSpoolDir={root}/spool.%n
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdLogFile={root}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={root}/task_prolog
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
MinJobAge=86400
EnforcePartLimits=ALL
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=60
GresTypes=gpu
NodeName=DEFAULT CPUs={cpus} RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
{nodes}
PartitionName=main Nodes=ALL Default=YES DefaultTime=30 MaxTime=2-0 PriorityTier=1
PartitionName=high Nodes=ALL DefaultTime=30 MaxTime=2-0 PriorityTier=100 PreemptMode=OFF
"""
# Node names do not resolve here: an address for the processes of a task, and an interface for gloo.
PROLOG = """\
#!/bin/sh
echo "export MASTER_ADDR=127.0.0.1"
echo "export GLOO_SOCKET_IFNAME=lo"
"""


def missing_programs() -> list[str]:
    path = os.environ["PATH"] + ":/usr/sbin"
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


class PrivateSlurm:
    """Started by `start`, ended by `stop`; `environment` makes SLURM's commands speak to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))},
            "SLURM_CONF": str(root / "slurm.conf"),
            "PATH": os.environ["PATH"] + ":/usr/sbin",
        }

    def start(self) -> None:
        root, port = self.root, _free_ports(NODES + 1)
        nodes = "\n".join(
            f"NodeName=node{i} NodeHostname={socket.gethostname().split('.')[0]} NodeAddr=127.0.0.1 Port={port + i}"
            for i in range(1, NODES + 1)
        )
        for name in ("state", *(f"spool.node{i}" for i in range(1, NODES + 1))):
            (root / name).mkdir(parents=True)
        root.chmod(0o755)  # munged wants its socket's directory open to all
        config = CONFIG.format(
            host=socket.gethostname().split(".")[0],
            port=port,
            user=getpass.getuser(),
            root=root,
            cpus=CPUS,
            gpus=GPUS,
            nodes=nodes,
        )
        (root / "slurm.conf").write_text(config)
        (root / "cgroup.conf").touch()
        for i in range(GPUS):
            (root / f"gpu{i}").symlink_to("/dev/null")  # a device file is all that slurmd asks for
        (root / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=node[1-{NODES}] Name=gpu File={root}/gpu[0-{GPUS - 1}]\n"
        )
        (root / "task_prolog").write_text(PROLOG)
        (root / "task_prolog").chmod(0o755)
        key = root / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        munged = {"key-file": key, "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
        munged |= {"seed-file": "munge.seed"}
        self._run("munged", "--force", *(f"--{name}={root / value}" for name, value in munged.items()))
        self._run("slurmctld", "-c")
        for i in range(1, NODES + 1):
            self._run("slurmd", "-N", f"node{i}")
        wait_until(lambda: self.output("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() == ["idle"] * NODES, 30)

    def stop(self) -> None:
        """Cancel what runs, end the daemons in the reverse order of their start; by their own ids alone."""
        with suppress(AssertionError, subprocess.TimeoutExpired):  # the daemons end all the same
            self.output("scancel", "--user", getpass.getuser())
            wait_until(lambda: not self.output("squeue", "-h", "-o", "%A"), 40)
        names = [*(f"slurmd.node{i}" for i in range(NODES, 0, -1)), "slurmctld", "munged"]
        for name in names:
            file = self.root / f"{name}.pid"
            if file.exists():
                pid = int(file.read_text())
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda pid=pid: not _alive(pid), 20)

    def output(self, *command: str) -> str:
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=20)
        return ended.stdout.strip()

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says of a job or an array task; empty where there is none."""
        line = self.output("scontrol", "show", "job", "--oneliner", job).splitlines()
        return dict(field.split("=", 1) for field in line[0].split() if "=" in field) if line else {}

    def _run(self, program: str, *arguments: str) -> None:
        ended = subprocess.run(
            [program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=20,
            start_new_session=True,
        )
        assert ended.returncode == 0, f"{program}: {ended.stderr}"


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # empty: a zombie that nobody has asked for yet
    except OSError:
        return False


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row, away from 15000 to 24999, where Lightning puts its own."""
    for first in range(26000, 32000, 10):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for i, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + i))
            return first
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no free ports")
