"""``python -m regopt.testing pairs``; see ``_cli.py``."""

import sys

from regopt.testing._cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
