"""Experiments: files that each ask one question, their configs, claims and command line."""

from regopt.experiment._claims import Claim
from regopt.experiment._cli import main
from regopt.experiment._config import ConfigError, read_config, read_toml
from regopt.experiment._discovery import Experiment, Listing, discover, load_experiment
from regopt.experiment._runner import Outcome, execute, run_folder

__all__ = [
    "Claim",
    "ConfigError",
    "Experiment",
    "Listing",
    "Outcome",
    "discover",
    "execute",
    "load_experiment",
    "main",
    "read_config",
    "read_toml",
    "run_folder",
]
