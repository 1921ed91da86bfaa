"""What a process says of its machine."""

import pytest

from tests.support.small_study import ONE_CYCLE, write_study
from timecat.cli import main
from timecat.process import has_fast_bf16

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
