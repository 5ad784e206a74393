"""The result of a sweep: its table, its curves, its best setting and its trained states.

Tables and curves are returned as pandas and xarray objects. The drawings are in ``regopt.report``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regopt._core.notebook import to_html
from regopt._core.types import Mode, Tree
from regopt.report import REPEATED
from regopt.sweep.results._best import Best, best_of
from regopt.sweep.results._history import History
from regopt.sweep.results._tables import States, Tables

if TYPE_CHECKING:
    from regopt.report import Findings
    from regopt.sweep.results._pareto import Pareto


@dataclasses.dataclass(frozen=True)
class Result(Tables):
    """The result of a sweep, which ``run`` and ``load`` return.

    The *kept* step of a setting is the best evaluated one with early stopping, else the last; its metrics in the table
    and its state are those of the kept step.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5]})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2)
        >>> result.curves()["validation_loss"].sel(setting=1).values.tolist()
        [0.0625, 0.00390625]
        >>> best = result.best()
        >>> best.index, best.step, float(result.state(best)), float(result.refit(best).state(best))
        (1, 4, 0.9375, 0.9375)
    """

    states: "States[Result]" = dataclasses.field(repr=False, kw_only=True)

    def best(
        self,
        metric: str | None = None,
        mode: Mode | None = None,
        *,
        over: Sequence[str] = REPEATED,
    ) -> Best:
        """The setting whose kept state has the best metric, in the mean over its seeds, replicas and folds.

        A setting with a repeat that diverged never wins; one with a repeat that was not trained wins only if no setting
        with all repeats has a finite value. Of equals the first wins. ``over=()`` takes each row for a setting of its
        own, and so chooses the luckiest repeat.

        Args:
            metric: name of a metric; the sweep's ``monitor`` by default.
            mode: whether "min" or "max" is better; by default the sweep's own for its monitor, and what the metric
                declares for another one.
            over: the columns that only repeat a setting.

        Returns:
            The index of its first repeat, the setting without the columns in which the repeats differ, its mean
            metrics, the kept step of the first repeat, and the rows of all repeats.

        Raises:
            ValueError: there is no such metric, ``mode`` is unknown or not declared, or no setting has a finite
                value of it.
        """
        return best_of(self, metric, mode, over)

    def pareto(
        self,
        metrics: Sequence[str],
        modes: Mapping[str, Mode] | None = None,
        *,
        over: Sequence[str] = REPEATED,
    ) -> "Pareto":
        """The Pareto front: the settings to which no other is at least as good in all metrics and better in one.

        Args:
            metrics: the names of at least two metrics, of columns of numbers, or "parameters", the number of parameters
                of a setting, which is minimised.
            modes: whether "min" or "max" is better for those that declare no direction, such as columns.
            over: the columns that only repeat a setting; the metrics are means over them.

        Returns:
            The table of all settings that have finite values, with the front marked, and its figure.

        Raises:
            ValueError: fewer than two metrics are named, a name is unknown or its direction is not declared, or no
                setting has finite values.
            ImportError: pandas is not installed.
        """
        from regopt.sweep.results._pareto import pareto

        return pareto(self, metrics, modes, over)

    def state(self, setting: int | Best) -> Tree:
        """The state of one setting at its kept step, with NumPy leaves.

        Args:
            setting: row of the table, or what ``best`` returned.

        Returns:
            The state, as ``task.step`` returns it.

        Raises:
            ValueError: the state was not kept (``refit`` trains it again), or it cannot be read from the folder.
            IndexError: the table has no such row.
        """
        return self.states.state(_index(setting, self.history))

    def __repr__(self) -> str:
        """The number of settings of each status, and the metric that is monitored."""
        told = f"{self._counts()}; monitor {self.monitor} ({self.mode}){', interrupted' if self.interrupted else ''}"
        return f"<Result of {len(self.status):,} settings: {told}>"

    def _repr_html_(self) -> str | None:
        """The best setting, the number of settings of each status and a small curve, for a notebook."""
        title, text = f"{len(self.status):,} settings:", self._counts()
        try:
            best = self.best()
        except ValueError as error:  # none has a finite value
            return to_html(title, [{"best": str(error)}], text=text)
        row = {"setting": best.index, **best.setting, **best.metrics, "step": best.step}
        label = f"{self.monitor} of the best setting over {int(self.history.steps[-1])} steps"
        curve = self.history.curves[self.monitor][best.index]
        return to_html(title, [row], text=f"{text}; the best:", curve=curve, label=label)

    def _counts(self) -> str:
        """The number of settings of each status."""
        names, counts = np.unique(self.status, return_counts=True)
        return ", ".join(f"{count:,} {name}" for name, count in zip(names.tolist(), counts.tolist(), strict=True))

    def params(self, setting: int | Best) -> Tree:
        """The parameters of one setting at its kept step: the field ``params`` of its state, with NumPy leaves.

        A model with batch statistics is more than these: a supervised state has them in ``rest``. With flax nnx,
        ``nnx.update(model, state.params)`` and ``nnx.update(model, state.rest)`` put both into a new model.

        Args:
            setting: row of the table, or what ``best`` returned.

        Returns:
            The parameters; ``regopt.final_params`` makes the model of an optimizer that averages.

        Raises:
            ValueError: as for ``state``, or the state has no field ``params``.
            IndexError: the table has no such row.
        """
        state = self.state(setting)
        if not hasattr(state, "params"):
            raise ValueError(f"the task's state has no field params, got {type(state).__name__}: see state(setting)")
        return state.params

    def predict(self, inputs: Tree) -> np.ndarray:
        """The outputs of the task for ``inputs`` at the kept state of every setting, in chunks as in the sweep.

        For a supervised task these are ``model(inputs)`` with noise off, as in its evaluation. The program is compiled
        once for each group of static values and shape of the inputs.

        Args:
            inputs: what ``task.predict`` takes, with the points on the first axis.

        Returns:
            ``[settings, points, ...]``, float; NaN where a setting diverged or was not trained.

        Raises:
            ValueError: the task has no ``predict``, its outputs are not one array of one shape for all settings, or the
                result was read or pickled and has no program.
        """
        return self.states.outputs(~self.history.diverged & (self.kept_step > 0), inputs)

    def refit(self, setting: int | Best | None = None) -> "Result":
        """Train one setting again from its first step, alone, in the program and at the places of a chunk that it had.

        The result is bit for bit that of the sweep. Nothing is compiled again.

        Args:
            setting: row of the table, or what ``best`` returned; None trains all of them again.

        Returns:
            A result like this one, in which only that setting is trained.

        Raises:
            ValueError: the setting continued from the state of another one, the scheduler may change its numbers, or
                the result was read or pickled.
            IndexError: the table has no such row.
        """
        return self.states.refit(None if setting is None else _index(setting, self.history))

    def save(self, folder: str | Path, config: Mapping[str, object] | None = None) -> None:
        """Write table, curves, config and versions into a folder; ``sweep.load`` reads them, without the states.

        Args:
            folder: created if it does not exist; a result in it is replaced.
            config: the resolved config as JSON values; by default what the result knows of it.

        Raises:
            OSError: the folder cannot be written.
        """
        from regopt.sweep.results import _io

        _io.save(self, folder, config, getattr(self.states, "describe", list)())

    def findings(self, title: str = "Sweep", *, thorough: bool = True) -> "Findings":
        """The tables of this result as ``regopt.report`` takes them; its functions take the result itself too.

        Args:
            title: the title of the report.
            thorough: whether to add importance and separations; the forests of the importance take seconds.

        Returns:
            The findings.

        Raises:
            ImportError: pandas or another package of the extra ``report`` is not installed.
        """
        from regopt.sweep.results._findings import findings

        return findings(self, title, thorough=thorough)

    def report(self, path: str | Path, title: str = "Sweep") -> None:
        """Write one HTML page that opens without a network; see ``regopt.report.write_page``.

        Args:
            path: the file.
            title: the title of the page.

        Raises:
            ImportError: a package of the extra ``report`` is not installed.
            OSError: the file cannot be written.
        """
        from regopt.report import write_page

        write_page(path, self.findings(title))


def _index(setting: int | Best, history: History) -> int:
    index = setting.index if isinstance(setting, Best) else int(setting)
    if not 0 <= index < len(history.settings):
        raise IndexError(f"setting must lie in [0, {len(history.settings) - 1}], got {index}")
    return index
