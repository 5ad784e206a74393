"""``python -m regopt``: the command line."""

from regopt.experiment import main

raise SystemExit(main())
