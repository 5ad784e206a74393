"""The cost of a training step on a device, counted in the body of the training loop of a compiled program."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from regopt.sweep.accelerators._hlo import Array, Instruction, Module, parse
from regopt.sweep.accelerators._targets import Speed

FREE = {  # instructions that run no kernel
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"),
    *("opt-barrier", "domain", "add-dependency", "copy-done", "slice-done", "async-done", "async-update", "iota"),
    *("all-reduce-done", "all-gather-done", "collective-permute-done"),
}
READS_PART = {"dynamic-slice", "gather", "slice"}
PRODUCTS = {"dot", "convolution"}
COLLECTIVES = ("all-", "reduce-scatter", "collective-", "ragged-all-to-all")
LIBRARY = re.compile(r"gemm|__cublas|__cudnn\$conv")  # calls that multiply matrices


class Cost(NamedTuple):
    """The cost of one training step of the lanes of one call, on one device."""

    kernels: int  # fusions, matrix products, copies and the rest; the arithmetic on loop counters is not counted
    products: int  # of the kernels, those with a matrix product or a convolution
    copies: int
    transposes: tuple[str, ...]  # the arrays that change the order of their axes, as "f32[8,4]"
    flops: float  # of matrix products and convolutions
    bytes: float  # between the device's memory and its cores
    estimate: float | None  # seconds, the compiler's own estimate; None where it gives none
    estimate_of_products: float | None  # its part in kernels with a matrix product, seconds
    bounds: dict[str, float]  # lower bounds of the seconds, by resource; empty for a device of unknown speed
    collectives: int = 0  # of the kernels, those that exchange data between devices, as where a setting is divided

    @property
    def intensity(self) -> float:
        """The arithmetic intensity: FLOP per byte."""
        return self.flops / self.bytes if self.bytes else float("inf")

    @property
    def said_of_intensity(self) -> str:
        """The arithmetic intensity in words."""
        return f"{self.intensity:.3g} FLOP/B" if self.bytes else "all of it stays on the chip"

    @property
    def said_of_transposes(self) -> str:
        """The number of transposes, and what the first of them move."""
        shapes = ", ".join([*self.transposes[:3], *["..."] * (len(self.transposes) > 3)])
        return f"{len(self.transposes)} transposes" + (f" ({shapes})" if shapes else "")

    @property
    def binds(self) -> str:
        """The longest part: "matrix units", "bandwidth" or "launches"; "unknown" for a device without numbers."""
        return max(self.bounds, key=self.bounds.__getitem__, default="unknown")

    @property
    def said_of_seconds(self) -> str:
        """The source of ``seconds``, in words that tell how reliable they are."""
        if self.estimate is not None:
            return "by the compiler's estimate"
        return "at least" if self.bounds else "unknown"

    @property
    def seconds(self) -> float:
        """The compiler's estimate, or the largest bound without one; NaN for a device without numbers."""
        return max(self.bounds.values(), default=float("nan")) if self.estimate is None else self.estimate


def cost_of(
    program: Any, flops: float, steps: int, speed: Speed | None, precision: str, *, inner: bool = False
) -> Cost:
    """Count a training step.

    Args:
        program: the compiled program.
        flops: FLOP of the matrix products of a step, as the traced program has them.
        steps: number of turns of the training loop.
        speed: the speed of the device.
        precision: the precision of the operands of matrix products, a key of ``speed.products``.
        inner: whether the training loop is inside of a loop over lanes.

    Returns:
        The cost of a step, or that of the whole program if it has no loop with ``steps`` turns, as with one step.
    """
    module = parse(program.as_text())
    body = training_loop(module, steps, inner=inner)
    found = list(kernels(module, body))
    launched = sum(times for times, _, _ in found)
    moved = sum(times * traffic(module, within, kernel) for times, within, kernel in found)
    multiplying = [(times, kernel) for times, _, kernel in found if _multiplies(module, kernel)]
    cycles = sum(times * _cycles(kernel) for times, _, kernel in found)
    bounds, estimate, of_products = {}, None, None
    if speed is not None:
        bounds = {
            "matrix units": flops / speed.products[precision],
            "bandwidth": moved / speed.bandwidth,
            "launches": launched * speed.launch,
        }
        if cycles and speed.clock is not None:
            estimate = cycles / speed.clock
            of_products = sum(times * _cycles(kernel) for times, kernel in multiplying) / speed.clock
    return Cost(
        launched,
        sum(times for times, _ in multiplying),
        sum(times for times, _, kernel in found if kernel.opcode.startswith("copy")),
        tuple(transposes(module, body)),
        flops,
        moved,
        estimate,
        of_products,
        bounds,
        sum(times for times, _, kernel in found if kernel.opcode.startswith(COLLECTIVES)),
    )


def training_loop(module: Module, steps: int, *, inner: bool = False) -> str:
    """The body of the training loop: of the loops with this number of turns, the one that moves most bytes.

    It is the entry computation where there is no such loop.
    """
    bodies = [_body(loop) for _, loop in module.loops() if module.turns(loop) == steps]
    if inner:  # the loop over lanes may have as many turns
        bodies = [each for each in bodies if not any(_body(loop) in bodies for _, loop in module.loops(each))] or bodies
    return max(bodies, key=lambda each: _moved(module, each), default=module.entry)


def kernels(module: Module, within: str, times: int = 1) -> Iterator[tuple[int, str, Instruction]]:
    """The kernels that a computation runs, each with the number of its runs and the computation that holds it."""
    for instruction in module.computations[within].values():
        opcode = instruction.opcode
        if opcode == "while":
            yield from kernels(module, _body(instruction), times * (module.turns(instruction) or 1))
        elif opcode in ("call", "conditional", "async-start") and instruction.called:
            for name in instruction.called:
                yield from kernels(module, name, times)
        elif opcode not in FREE and any(array.shape for array in instruction.results):
            yield times, within, instruction


def traffic(module: Module, within: str, kernel: Instruction) -> float:
    """The bytes that a kernel reads from and writes to the device's memory.

    Where a kernel reads or replaces only a slice of an array, only the slice is counted.
    """
    results = sum(_size(array) for array in kernel.results)
    if kernel.opcode in READS_PART:
        return 2 * results
    if kernel.opcode == "dynamic-update-slice":
        return 2 * sum(_size(array) for array in module.operands(within, kernel)[1:2])
    own = module.computations.get(kernel.called[0], {}) if kernel.opcode == "fusion" and kernel.called else {}
    inside = {int(each.argument): each.name for each in own.values() if each.opcode == "parameter"}
    read = 0.0
    for position, name in enumerate(kernel.operands):
        source = module.computations[within].get(name)
        if source is None:
            continue
        whole = sum(_size(array) for array in source.results)
        users = [each for each in own.values() if inside.get(position) in each.operands]
        first = [each for each in users if each.operands[0] == inside[position]]
        if users and len(first) == len(users):
            if all(each.opcode in READS_PART for each in users):
                whole = min(whole, sum(array.size for each in users for array in each.results))
            elif all(each.opcode == "dynamic-update-slice" for each in users):
                replaced = sum(own[each.operands[1]].results[0].size for each in users if each.operands[1] in own)
                results, whole = results - whole + min(replaced, whole), 0.0
        read += whole
    return read + max(results, 0.0)


def transposes(module: Module, within: str) -> Iterator[str]:
    """The arrays whose axes a computation, or one that it calls, puts into another order in memory."""
    for instruction in module.computations.get(within, {}).values():
        if instruction.opcode in ("while", "call", "conditional", "fusion", "async-start"):
            for name in instruction.called:
                yield from transposes(module, name)
        operands = module.operands(within, instruction)
        if instruction.opcode in ("transpose", "copy") and operands and instruction.results:
            before, after = operands[0], instruction.results[0]
            permutation = _permutation(instruction, len(after.shape))
            if [permutation[axis] for axis in after.order] != list(before.order):
                yield f"{after.dtype}[{','.join(map(str, after.shape))}]"


def _permutation(instruction: Instruction, axes: int) -> list[int]:
    """For each axis of the result, the axis of the operand that it comes from."""
    told = re.search(r"dimensions=\{([\d,]*)\}", instruction.rest) if instruction.opcode == "transpose" else None
    return [int(axis) for axis in told[1].split(",") if axis] if told else list(range(axes))


def _size(array: Array) -> float:
    return 0.0 if array.on_chip else float(array.size)


def _body(loop: Instruction) -> str:
    match = re.search(r"body=%?([\w.\-]+)", loop.rest)
    return match[1] if match else ""


def _moved(module: Module, body: str) -> float:
    """Bytes of the results of a loop's kernels, on the chip or not."""
    return sum(times * sum(array.size for array in each.results) for times, _, each in kernels(module, body))


def _multiplies(module: Module, instruction: Instruction) -> bool:
    if instruction.opcode in PRODUCTS or (instruction.opcode == "custom-call" and LIBRARY.search(instruction.rest)):
        return True
    inside = (each for name in instruction.called for each in module.computations.get(name, {}).values())
    return instruction.opcode == "fusion" and any(each.opcode in PRODUCTS or _nested(module, each) for each in inside)


def _nested(module: Module, instruction: Instruction) -> bool:
    return instruction.opcode == "fusion" and _multiplies(module, instruction)


def _cycles(instruction: Instruction) -> int:
    match = re.search(r'"estimated_cycles":"(\d+)"', instruction.rest)
    return int(match[1]) if match else 0
