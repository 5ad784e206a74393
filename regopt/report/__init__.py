"""Reports: what a sweep left behind, as one page that opens anywhere, and as files for other tools.

Tables, curves and dictionaries in, text and files out. Nothing here knows how a sweep trains.
"""

from regopt.report._exporters import to_mlflow, to_tensorboard, to_wandb
from regopt.report._findings import Findings
from regopt.report._page import write_page
from regopt.report._terminal import summary

__all__ = ["Findings", "summary", "to_mlflow", "to_tensorboard", "to_wandb", "write_page"]
