"""What a real bash makes of TAB after the documented line."""

import shlex
import sys

from tests.support.terminal import Terminal
from timecat.cli import main


def test_tab_completes_commands_options_keys_and_files(tmp_path):
    timecat = shlex.join([sys.executable, "-m", "timecat"])
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "rc").write_text(f"timecat() {{ {timecat} \"$@\"; }}\nPS1='ready> '\nbind 'set bell-style none'\n")
    with (tmp_path / "rc").open("a") as rc:
        rc.write('eval "$(timecat --print-completion bash)"\n')
    terminal = Terminal(["bash", "--noprofile", "--rcfile", "rc", "-i"], tmp_path)
    terminal.until(lambda shown: shown.text.endswith("ready>"))
    for keys, whole in (
        ("timecat doc\tmin\t--js\t", "timecat doctor mine.yaml --json"),
        ("timecat bottleneck sat\t--config=mi\t", "timecat bottleneck saturation --config=mine.yaml"),
        ("timecat run --config mi\t--model.weight_d\t", "timecat run --config mine.yaml --model.weight_decay"),
        ("timecat tune --tune.met\t", "timecat tune --tune.method"),
        ("timecat write mi\t", "timecat write mine.yaml"),
    ):
        terminal.press(keys)
        terminal.until(lambda shown, whole=whole: f"ready> {whole}" in shown.text)
        terminal.press("\x15")  # the line is gone
    terminal.press("exit\n")
    assert terminal.wait() == 0


def test_another_shell_is_refused(capsys):
    assert main(["--print-completion", "fish"]) == 2
    assert "knows bash alone" in capsys.readouterr().err
