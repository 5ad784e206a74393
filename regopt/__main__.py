"""``python -m regopt``: the command line."""

from regopt.experiment._cli import command

command()
