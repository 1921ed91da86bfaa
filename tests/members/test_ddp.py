"""Two processes of a member on one machine: what they open to the network, and how they end."""

import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.processes import children, command, wait_for, wait_until
from tests.support.small_study import ONE_CYCLE, write_study
from timecat.cli import main
from timecat.study.progress import is_locked

LOOPBACK = ("0100007F", "0" * 16 + "FFFF00000100007F", "0" * 24 + "01000000")  # as /proc/net writes them
LISTENS = "0A"


def listening(process: int) -> list[str]:
    """The addresses on which a process listens, as /proc/net writes them."""
    links = [os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()]
    sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [line[1].split(":")[0] for line in lines if line[3] == LISTENS and line[9] in sockets]


def test_processes_of_one_machine_listen_on_loopback_and_die_with_the_first(tmp_path, digits):
    """Also where MASTER_PORT is taken; and a killed first process takes the other one along."""
    cats = {"cat1": {"members": 1, "steps": 100_000}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits), "workers": 1}, ONE_CYCLE, cats)
    directory = tmp_path / "runs" / "s" / "member_0_100000"
    fit = [*command("fit", "--config", config), "--member=0", "--trainer.devices=2", "--trainer.strategy=ddp"]
    ours = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "GLOO_SOCKET_IFNAME")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment["PYTHONFAULTHANDLER"] = "1"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment["MASTER_PORT"] = str(taken.getsockname()[1])
        first = subprocess.Popen(fit, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(first, (directory / "progress.json").exists)
            (second,) = children(first.pid)
            found = listening(first.pid) + listening(second)
        finally:
            first.send_signal(signal.SIGKILL)
            first.communicate()
    assert found and set(found) <= set(LOOPBACK)
    wait_until(lambda: not Path(f"/proc/{second}").exists(), 10, "the second process outlives the first")
    assert not is_locked(directory / "lock")


def test_several_nodes_that_nobody_starts_are_refused_in_a_line(tmp_path, digits, monkeypatch, capsys):
    for key in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(key, raising=False)
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}})
    assert main(["fit", "--config", config, "--member", "0", "--trainer.num_nodes", "2"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "trainer.num_nodes is 2, but this is one machine" in said
