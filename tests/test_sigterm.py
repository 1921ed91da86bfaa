"""SIGTERM ends what has no way of its own to stop."""

import os
import signal
import time

from timecat import cli


def test_a_command_that_hangs_ends_at_once_with_a_line(monkeypatch, capsys):
    def hangs(arguments: list[str]) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        return 0

    monkeypatch.setattr(cli, "_dispatch", hangs)
    before, begun = signal.signal(signal.SIGTERM, signal.SIG_DFL), time.monotonic()
    try:
        assert cli.main(["plan"]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - begun < 5
    assert capsys.readouterr().err == "timecat: stopped; the same command goes on from what is finished\n"
