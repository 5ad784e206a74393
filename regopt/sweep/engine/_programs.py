"""The programs of a group as it comes to have them: guessed at, compiled in threads, ready, and smaller ones later."""

from collections.abc import Sequence
from concurrent import futures
from typing import Self

import jax
import numpy as np

from regopt._core.messages import brief
from regopt._core.types import Device
from regopt.sweep.engine._compile import Segments, begin, names_of, programs_for
from regopt.sweep.engine._executables import Executables
from regopt.sweep.engine._feed import ValidationFeed
from regopt.sweep.engine._form import Form, Mapped
from regopt.sweep.engine._memory import temporary_bytes
from regopt.sweep.engine._recipe import Recipe
from regopt.sweep.engine._undo import Fails
from regopt.sweep.engine._work import price_of


class HasPrograms:
    """The part of a ``Group`` that compiles."""

    is_ready = False  # whether its programs are compiled
    trace_seconds, compile_seconds, temporary_bytes = 0.0, 0.0, 0
    form: Form
    recipe: Recipe
    indices: np.ndarray
    used: Sequence[Device]
    _executables: Executables
    _validation: ValidationFeed | None

    def begin(self) -> None:
        """Begin to compile the programs in threads, where that is possible; else compile them.

        Until they are compiled ``chunk`` is a first guess, and the group holds no lanes.
        """
        begun = begin(self.form, self._executables)
        if begun is None:
            self.compile()
        else:
            self.chunk, self.metrics, self._compiling = begun

    def compiled_within(self, seconds: float) -> bool:
        """Whether threads have compiled what was begun, after so many seconds at the latest."""
        return self.is_ready or not futures.wait(self._compiling, seconds).not_done

    def compile(self) -> Self:
        """Make the programs, unless they are made."""
        if self.is_ready:
            return self
        try:
            programs = programs_for(self.form, self._executables)
        except jax.errors.JaxRuntimeError as error:
            values = [f"{name}={brief(value)}" for name, value in self.recipe.static_values.items()]
            which = f" with {', '.join(values)}" if values else ""
            error.add_note(f"while the programs of {len(self.indices)} settings{which} were compiled")
            raise
        self.chunk, self.digests = programs.chunk, programs.digests
        self.price = price_of(programs.flops, self.used[0].platform)  # of a segment of a lane
        self.mapping: Mapped = programs.mapping
        self._segments = Segments(self.form, programs, self._executables)
        self.segment, self._start, self._predict = programs.segment, programs.start, programs.predict
        self._evaluation = programs.evaluation
        self._fails: Fails = "program" if programs.calls_back else None if self._validation is None else "data"
        self.trace_seconds, self.compile_seconds = programs.trace_seconds, programs.compile_seconds
        names = names_of(self.segment.out_info)
        self.metrics = names if self._evaluation is None else self._evaluation.metrics
        self.segment_seconds, self.temporary_bytes = programs.segment_seconds, temporary_bytes(self.segment)
        self.is_ready = True
        return self

    def late_seconds(self) -> tuple[float, float]:
        """Seconds of tracing and of compiling smaller calls, since this was last asked."""
        return self._segments.new_seconds()
