import sys

from timecat.cli import from_shell

sys.exit(from_shell())
