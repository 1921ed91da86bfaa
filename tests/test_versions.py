"""`timecat --version`: one line, and nothing heavy is imported for it."""

import re
import subprocess
import sys

import ffcv.libffcv  # noqa: F401 (what the line says of it is true)
import torch

from timecat import __version__


def test_one_line_tells_timecat_torch_cuda_and_the_kernel(monkeypatch):
    code = (
        "import sys; from timecat.cli import main; status = main(['--version']); "
        "assert not {'torch', 'lightning', 'ffcv', 'numba', 'jsonargparse'} & set(sys.modules); sys.exit(status)"
    )
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    start = f"timecat {__version__}, torch {torch.__version__.partition('+')[0]} ({built}), kernel "
    for name, kernel in ((None, r"ffcv [\d.]+"), ("cv2", r"simplejpeg\+cv2")):
        if name:
            monkeypatch.setenv("TIMECAT_KERNEL", name)
        shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        assert re.fullmatch(re.escape(start) + kernel + "\n", shown), shown
