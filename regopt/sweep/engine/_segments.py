"""The programs of a group that train a segment: one for each size of a call, compiled when it is first needed."""

import dataclasses

import jax

from regopt.sweep.engine._compile import Form, segment_for


class Segments:
    """The programs by the slots of a device in their calls.

    Args:
        form: what they are compiled for, with the mapping that was chosen.
        chunk: the slots of a device in the largest calls.
        largest: the program of these.
    """

    def __init__(self, form: Form, chunk: int, largest: jax.stages.Compiled):
        self._form = form
        self._programs = {chunk: largest}
        self._seconds = (0.0, 0.0)

    def of(self, chunk: int) -> jax.stages.Compiled:
        """The program of calls with so many slots of a device."""
        if chunk not in self._programs:
            made = segment_for(dataclasses.replace(self._form, chunk=chunk))
            trace, compiled = self._seconds
            self._seconds = trace + made.trace_seconds, compiled + made.compile_seconds
            self._programs[chunk] = made.program
        return self._programs[chunk]

    def new_seconds(self) -> tuple[float, float]:
        """Seconds of tracing and of compiling since this was last asked."""
        seconds, self._seconds = self._seconds, (0.0, 0.0)
        return seconds
