"""Reports of a sweep: one page that opens anywhere, a table for the terminal, and other tools.

The input is tables, curves and dictionaries; nothing here knows how a sweep trains.
"""

from regopt.report._exporters import to_mlflow, to_tensorboard, to_wandb
from regopt.report._findings import REPEATED, Findings
from regopt.report._front import front_figure
from regopt.report._page import write_page
from regopt.report._server import Watched, server
from regopt.report._terminal import summary
from regopt.report._trackers import Tracker, track_mlflow, track_tensorboard, track_trackio, track_wandb

__all__ = [
    "REPEATED",
    "Findings",
    "Tracker",
    "Watched",
    "front_figure",
    "server",
    "summary",
    "to_mlflow",
    "to_tensorboard",
    "to_wandb",
    "track_mlflow",
    "track_tensorboard",
    "track_trackio",
    "track_wandb",
    "write_page",
]
