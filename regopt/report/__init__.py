"""Reports of a sweep: one page that opens anywhere, a table for the terminal, and files for other tools.

The input is tables, curves and dictionaries; nothing here knows how a sweep trains.
"""

from regopt.report._exporters import to_mlflow, to_tensorboard, to_wandb
from regopt.report._findings import REPEATED, Findings
from regopt.report._page import write_page
from regopt.report._terminal import summary

__all__ = ["REPEATED", "Findings", "summary", "to_mlflow", "to_tensorboard", "to_wandb", "write_page"]
