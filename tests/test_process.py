"""What a process says of its machine."""

import pytest

from tests.support.small_study import ONE_CYCLE, write_study
from timecat.cli import main
from timecat.process import coarse, free_memory, has_fast_bf16, memory_limit, quota

AVX2, AVX512, ARM = "flags\t\t: fpu sse avx2 bmi2", "flags\t\t: avx2 avx512f avx512bw", "Features\t: fp asimd bf16"


def test_bfloat16_is_fast_with_avx512_or_arms_own():
    assert [has_fast_bf16(text) for text in (AVX2, AVX512, ARM)] == [False, True, True]


@pytest.mark.parametrize(
    ("precision", "fast", "lines"), [("bf16-mixed", False, 1), ("bf16-mixed", True, 0), ("32-true", False, 0)]
)
def test_a_cpu_that_is_slow_in_bfloat16_is_told_of(tmp_path, digits, monkeypatch, capsys, precision, fast, lines):
    monkeypatch.setattr("timecat.cluster.slots.has_fast_bf16", lambda: fast)
    trainer = {"precision": precision}
    cats = {"cat1": {"members": 1, "steps": 2}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, trainer)
    for command in ("plan", "fit"):
        assert main([command, config]) == 0
        assert capsys.readouterr().err.count("this CPU has no fast bfloat16") == lines


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RANK": "x"}, "RANK is 'x'; it must be a whole number"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is ''"),
        ({"OMP_NUM_THREADS": "0"}, "OMP_NUM_THREADS is '0'; it must be a whole number of 1 or more"),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2"}, "LOCAL_WORLD_SIZE is not what torchrun"),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "1", "WORLD_SIZE": "0"}, "WORLD_SIZE is not what torchrun"),
    ],
)
def test_what_no_launcher_sets_is_refused_in_a_line(monkeypatch, capsys, variables, words):
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert main(["plan", "s.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said


def test_a_removed_working_directory_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["plan", "s.yaml"]) == 2
    assert capsys.readouterr().err == "timecat: the working directory was removed; change to one that is there\n"


MEMINFO = "MemTotal:       16000 kB\nMemFree:  1000 kB\nMemAvailable:    8000 kB\n"


def cgroup(directory, **numbers):
    directory.mkdir(parents=True)
    for name, text in numbers.items():
        (directory / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_free_memory_is_what_is_available_within_every_cgroup_around(tmp_path):
    """Version 2, where a parent may be narrower; what is cached of files counts as free; `max` is no limit."""
    cgroup(tmp_path / "job/task", memory_max="max", memory_current=9_000_000)
    assert free_memory(MEMINFO, tmp_path, "0::/job/task\n") == 8000 * 1024
    cgroup(tmp_path / "narrow/task", memory_max=9_000_000, memory_current=8_000_000)
    (tmp_path / "narrow/memory.max").write_text("6000000\n")
    (tmp_path / "narrow/memory.current").write_text("5000000\n")
    assert free_memory(MEMINFO, tmp_path, "0::/narrow/task\n") == 1_000_000
    (tmp_path / "narrow/memory.stat").write_text("anon 4000000\ninactive_file 700000\n")
    assert free_memory(MEMINFO, tmp_path, "0::/narrow/task\n") == 1_000_000  # the inner one's
    (tmp_path / "narrow/task/memory.stat").write_text("inactive_file 5000000\n")
    assert free_memory(MEMINFO, tmp_path, "0::/narrow/task\n") == 1_700_000
    assert free_memory(MEMINFO, tmp_path, "0::/elsewhere\n") == 8000 * 1024


def test_free_memory_by_cgroups_of_version_1(tmp_path):
    directory = tmp_path / "memory/slurm/job"
    directory.mkdir(parents=True)
    (directory / "memory.limit_in_bytes").write_text("3000000")
    (directory / "memory.usage_in_bytes").write_text("1000000")
    assert free_memory(MEMINFO, tmp_path, "5:cpu,cpuacct:/slurm/job\n4:memory:/slurm/job\n") == 2_000_000
    assert memory_limit(tmp_path, "4:memory:/slurm/job\n") == 3_000_000
    (directory / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert memory_limit(tmp_path, "4:memory:/slurm/job\n") is None


def test_the_narrowest_quota_of_both_versions(tmp_path):
    """Version 2 writes time and period in one file, version 1 in two; `max` and -1 are no limit."""
    cgroup(tmp_path / "job/task", cpu_max="max 100000")
    assert quota(tmp_path, "0::/job/task\n") is None
    (tmp_path / "job/cpu.max").write_text("150000 100000\n")
    assert quota(tmp_path, "0::/job/task\n") == 1.5
    (tmp_path / "job/task/cpu.max").write_text("60000 50000\n")
    assert quota(tmp_path, "0::/job/task\n") == 1.2
    own = "5:cpu,cpuacct:/docker/box\n4:memory:/\n"
    cgroup(tmp_path / "cpu,cpuacct", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100_000)
    assert quota(tmp_path, own) is None
    (tmp_path / "cpu,cpuacct/cpu.cfs_quota_us").write_text("250000\n")  # a container sees its own as the root
    assert quota(tmp_path, own) == 2.5


def test_what_is_planned_with_changes_in_steps():
    assert [coarse(value) for value in (8.0, 9.9, 10.0, 67.6e9)] == [8.0, 8.0, 10.0, 7 * 2.0**33]
    assert coarse(67.6e9) == coarse(66e9)
    assert 1e8 < free_memory() < 1e14
