"""The text of a compiled program as computations and instructions, as far as counting needs it.

Nothing may depend on it but counts: XLA does not guarantee the format of this text, and lines that cannot be read are
skipped.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)(:[^}]*)?\})?")
_BITS = re.compile(r"[a-z]+(\d+)")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=\{?((?:%?[\w.\-]+(?:, )?)+)\}?")


class Array(NamedTuple):
    """The dtype, the shape and the layout of an array."""

    dtype: str
    shape: tuple[int, ...]
    layout: tuple[int, ...]  # axes from the fastest to the slowest
    on_chip: bool  # in a memory beside the cores, which takes no bandwidth of the device's memory

    @property
    def size(self) -> int:
        """The size in bytes."""
        bits = 8 if self.dtype == "pred" else int(match[1]) if (match := _BITS.match(self.dtype)) else 0
        return math.prod(self.shape) * bits // 8

    @property
    def order(self) -> tuple[int, ...]:
        """The axes that have more than one entry, from the slowest to the fastest."""
        return tuple(axis for axis in reversed(self.layout) if self.shape[axis] > 1)


class Instruction(NamedTuple):
    """One instruction of a computation."""

    name: str
    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    argument: str  # the text in its brackets: the value of a constant, the number of a parameter
    rest: str  # attributes and metadata

    @property
    def called(self) -> list[str]:
        """The computations that the instruction calls, except the condition of a loop."""
        found = [name.strip().lstrip("%") for match in _CALLED.findall(self.rest) for name in match.split(",")]
        return [name for name in found if name]


class Module(NamedTuple):
    """A compiled program."""

    computations: dict[str, dict[str, Instruction]]
    entry: str

    def operands(self, within: str, instruction: Instruction) -> list[Array]:
        """The arrays that an instruction takes."""
        own = self.computations[within]
        return [array for name in instruction.operands if name in own for array in own[name].results]

    def loops(self, within: str | None = None) -> Iterator[tuple[str, Instruction]]:
        """The loops that the program runs, outer ones first, each with the computation that it is in."""
        within = self.entry if within is None else within
        for instruction in self.computations.get(within, {}).values():
            if instruction.opcode == "while":
                yield within, instruction
            if instruction.opcode in ("while", "call", "conditional", "async-start"):
                for name in instruction.called:
                    yield from self.loops(name)

    def turns(self, loop: Instruction) -> int | None:
        """The number of turns of a loop; None where the text does not tell."""
        known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
        if known:
            return int(known[1])
        condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
        lines = self.computations.get(condition[1], {}).values() if condition else ()
        limits = [int(each.argument) for each in lines if each.opcode == "constant" and each.argument.isdigit()]
        return max(limits, default=None)


def parse(text: str) -> Module:
    """Read the text of a compiled program."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, own = "", {}
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith((" ", "HloModule")) and (head := _HEAD.match(line)):
            own = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif (match := _INSTRUCTION.match(line)) and (read := _instruction(match[1], match[2])):
            own[read.name] = read
    return Module(computations, entry)


def _instruction(name: str, text: str) -> Instruction | None:
    text = re.sub(r"/\*.*?\*/", "", text)
    form, after = _closed(text) if text.startswith("(") else text.split(" ", 1)
    opcode, bracket, after = after.strip().partition("(")
    if not bracket:
        return None
    inside, rest = _closed("(" + after)
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, opcode, _arrays(form), operands, inside[1:-1].strip(), rest)


def _closed(text: str) -> tuple[str, str]:
    """The text up to the bracket that closes its first one, and what follows."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return text[: at + 1], text[at + 1 :]
    return text, ""


def _arrays(form: str) -> tuple[Array, ...]:
    """The arrays of a type, those of a tuple one after the other."""
    found = []
    for dtype, shape, layout, tiling in _ARRAY.findall(form):
        sizes = tuple(int(size) for size in shape.split(",") if size)
        axes = tuple(int(axis) for axis in layout.split(",") if axis) or tuple(reversed(range(len(sizes))))
        found.append(Array(dtype, sizes, axes, re.search(r"S\([1-9]", tiling) is not None))
    return tuple(found)
