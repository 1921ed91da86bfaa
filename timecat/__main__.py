import sys

from timecat.cli import main

sys.exit(main())
