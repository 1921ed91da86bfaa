"""`timecat doctor` as a user meets it: a line for each thing whatever fails, hangs or crashes, and what to do."""

import json
import os
import signal
import time

import pytest
import yaml

from tests.support.processes import command
from tests.support.small_study import ONE_CYCLE, write_study
from tests.support.terminal import Terminal
from timecat.cli import main
from timecat.doctor import apart, disk, gpus, kernel, locks, memory
from timecat.doctor.doctor import doctor
from timecat.doctor.installed import _line
from timecat.doctor.line import Line

LIGHT = (
    "timecat",
    "Python",
    "torch",
    "kernel",
    "cores",
    "memory",
    "/dev/shm",
    "data",
    "runs",
    "locks",
    "SLURM",
    "network",
)


def test_doctor_on_a_terminal(tmp_path):
    """All of it, imports included, within a terminal's width, the first line long before the last one."""
    terminal, begun = Terminal(command("doctor"), tmp_path), time.monotonic()
    terminal.until(lambda shown: shown.text.startswith("timecat       0."))
    first = time.monotonic() - begun
    assert terminal.wait() == 0, terminal.text
    whole = time.monotonic() - begun
    assert first < whole / 2 and whole < 20
    terminal.assert_readable()
    told = [line.partition("  ")[0] for line in terminal.lines if line[:1].strip()]
    assert [name for name in told if name in LIGHT] == list(LIGHT)
    assert "\n              " in terminal.text, "values wrap below values"
    assert not list(tmp_path.iterdir())


def lines(capsys) -> dict[str, dict]:
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {each["what"]: each for each in found}


def test_a_check_that_fails_hangs_or_crashes_is_a_line(capsys, monkeypatch):
    def fails():
        yield Line("well", "1")
        raise RuntimeError("two\nlines")

    def hangs():
        time.sleep(60)
        yield Line("never", "1")

    def mends():
        yield Line("shared", "64 MB", "docker run --shm-size=1g")

    of, begun = {"fails": fails, "hangs": hangs, "mends": mends}, time.monotonic()
    assert doctor([], True, of, seconds=0.5) == 0
    assert time.monotonic() - begun < 3
    found = lines(capsys)
    assert found["well"] == {"what": "well", "value": "1", "state": "ok", "mend": None}
    assert "RuntimeError: two lines" in found["fails"]["value"]
    assert found["hangs"]["value"] == "no answer in 0.5 s"
    assert found["shared"]["state"] == "mend" and found["shared"]["mend"] == "docker run --shm-size=1g"
    assert doctor([], False, {"mends": mends}) == 0
    out = capsys.readouterr().out
    assert (
        "shared        64 MB; MEND: docker run --shm-size=1g\n" in out and "1 to mend, and timecat works without" in out
    )


def test_what_kills_the_process_of_a_check_is_told_and_counts_as_broken(capsys, monkeypatch, tmp_path):
    """As a library that was built for another processor does."""
    (tmp_path / "sitecustomize.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert doctor([], True, {"gpus": lambda: apart.in_a_process("gpus")}) == 1
    assert signal.SIGILL.name in lines(capsys)["gpus"]["value"]


@pytest.mark.parametrize(
    ("toolkit", "driver", "words"),
    [
        ("CUDA 13.2", (12, 4), ("built for CUDA 13.2", "580", "CUDA 12")),
        ("CUDA 12.6", (11, 8), ("525", "CUDA 11")),
        ("CUDA 13.2", (13, 0), ()),
        ("CUDA 12.6", (13, 2), ()),
        ("ROCm 7.1", (12, 4), ()),
        (None, (12, 4), ()),
    ],
)
def test_a_driver_that_is_too_old_for_torchs_cuda(toolkit, driver, words):
    told = gpus.too_old(toolkit, driver)
    assert bool(told) == bool(words) and all(word in told for word in words)


def test_gpus_alike_are_one_line_and_old_ones_have_no_bf16(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    h100, v100 = ("NVIDIA H100", (9, 0), 85 * 10**9), ("Tesla V100", (7, 0), 32 * 10**9)
    of, bf16 = gpus.of([h100, h100, v100])
    assert "2 x NVIDIA H100, 85 GB, compute capability 9.0; 1 x Tesla V100" in of.value and "=0,1,2" in of.value
    assert bf16.mend == "Tesla V100: --trainer.precision 16-mixed"
    assert [line.state for line in gpus.of([h100])] == ["ok", "ok"]


def test_a_card_without_a_driver(monkeypatch, tmp_path):
    (tmp_path / "0000:01:00.0").mkdir()
    for name, text in {"vendor": "0x10de\n", "class": "0x030200\n"}.items():
        (tmp_path / "0000:01:00.0" / name).write_text(text)
    monkeypatch.setattr(gpus, "gpus_here", lambda: 0)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "nowhere")
    monkeypatch.setattr(gpus, "CARDS", tmp_path)
    (line,) = gpus.check()
    assert line.value.startswith("1 of NVIDIA's") and "--gpus all" in line.mend


@pytest.mark.parametrize(("gpus_here", "state"), [(0, "ok"), (1, "ok"), (2, "mend")])
def test_dockers_shared_memory_is_told_of_where_several_gpus_need_it(monkeypatch, tmp_path, gpus_here, state):
    usage = type("usage", (), {"free": 64 << 20, "total": 64 << 20})
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: usage)
    line = memory.shared(gpus_here)
    assert line.state == state and line.value.startswith("67.1 MB free")
    assert ("--shm-size=1g" in line.mend) == (state == "mend")


def test_locks_are_tried_and_what_hides_them_is_told(monkeypatch, tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw,vers=4.2,local_lock=none 0 0\n")
    monkeypatch.setattr(disk, "MOUNTS", mounts)
    line = locks.locks("locks", tmp_path / "runs")
    assert line.state == "ok" and "(nfs4)" in line.value
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path} nfs rw,local_lock=flock 0 0\n")
    assert "this machine alone" in locks.locks("locks", tmp_path / "runs").value
    monkeypatch.setattr(locks, "OTHER", "")  # the other process gets the lock all the same
    assert "does not keep" in locks.locks("locks", tmp_path / "runs").value
    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    line = locks.locks("locks", tmp_path / "runs")
    assert "no flock (Function not implemented)" in line.value and "-o flock" in line.mend
    assert [path.name for path in tmp_path.iterdir()] == ["mounts"]


def refuse(file, how) -> None:
    raise OSError(38, "Function not implemented")


def test_the_kernel_and_why(monkeypatch):
    for name in (None, "ffcv", "cv2", "dali"):
        monkeypatch.setenv("TIMECAT_KERNEL", name) if name else monkeypatch.delenv("TIMECAT_KERNEL", raising=False)
        (line,) = kernel.check()
        assert (line.state == "broken") == (name == "dali")
        assert name is None or "TIMECAT_KERNEL" in line.value
        assert line.value.startswith("ffcv") == (name in (None, "ffcv"))
    monkeypatch.delenv("TIMECAT_KERNEL")
    monkeypatch.setattr(kernel, "ffcv_fails", lambda: "does not load (libopencv_core.so.406)")
    (line,) = kernel.check()
    assert line.value.startswith("simplejpeg") and "libopencv_core.so.406" in line.value and line.state == "mend"
    monkeypatch.setattr(kernel.importlib.util, "find_spec", lambda name: None)
    assert next(iter(kernel.check())).broken


def test_a_library_that_is_missing_or_too_old():
    from packaging.specifiers import SpecifierSet

    old, missing = _line("numpy", SpecifierSet(">=99")), _line("no-such-library", SpecifierSet(">=1"))
    assert (old.state, missing.state) == ("mend", "broken")
    assert "pip install 'numpy>=99'" in old.mend and "no-such-library>=1" in missing.mend


def test_a_configs_own_places(tmp_path, digits, monkeypatch, capsys):
    """Its images, its runs, and fewer than twelve cores a GPU."""
    from timecat.doctor.config import check

    monkeypatch.setattr("timecat.cluster.few_cores.gpus_here", lambda: 2)
    monkeypatch.setattr("timecat.cluster.few_cores.cores", lambda: 8)
    cats = {"cat1": {"members": 1, "steps": 4}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, {"accelerator": "gpu"})
    found = {line.what: line for line in check([config])}
    assert found["config"].value.endswith("study s, 1 members") and "1 of 1 .beton" in found["images"].value
    assert found["its cores"].value == "8 cores here for 2 GPUs" and "12" in found["its cores"].mend
    assert str(tmp_path / "runs") in found["study.root"].value and "tried" in found["its locks"].value
    content = yaml.safe_load((tmp_path / "s.yaml").read_text())
    content["data"]["train"] = "nowhere.beton"
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    found = {line.what: line for line in check([config])}
    assert found["images"].broken and "nowhere.beton: write it with `timecat write" in found["images"].mend
    content["modle"] = {}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    (line,) = check([config])
    assert line.broken and "did you mean model?" in line.value


FAKE = {
    "sbatch": "echo slurm 24.05.1",
    "scontrol": "echo 'MaxArraySize            = 1001'",
    "sinfo": "echo 'cpu*|8|(null)'; echo 'gpu|4|gpu:a100:8(S:0-1)'",
}


def test_slurm_as_its_commands_tell_of_it(monkeypatch, tmp_path):
    from timecat.doctor.slurm import check

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, does in FAKE.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    here, offers = check()
    assert here.value == "slurm 24.05.1, MaxArraySize 1,001, 2 partitions"
    assert (offers.value, offers.state) == ("gpu (4 nodes, up to 8)", "ok")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: a' >&2; echo 'sbatch: fatal: no b' >&2; exit 1\n")
    (line,) = check()
    assert "reaches no controller (no b)" in line.value and line.state == "mend"


def test_doctors_command_line(capsys):
    assert main(["doctor", "--help"]) == 0
    assert "timecat doctor [CONFIG] [--json]" in capsys.readouterr().out
    assert main(["doctor", "--jsn"]) == 2
    assert "--jsn" in capsys.readouterr().err
