"""What is counted in the text of a compiled program, against counts made by eye."""

import jax
import jax.numpy as jnp
import pytest

from regopt.sweep.accelerators._cost import cost_of, kernels, traffic, training_loop, transposes
from regopt.sweep.accelerators._hlo import parse
from regopt.sweep.accelerators._targets import SPEEDS, target_of

TEXT = """HloModule jit_segment, is_scheduled=true

%fused_dot (p0: f32[8,4], p1: f32[4,2]) -> f32[8,2] {
  %p0 = f32[8,4]{1,0} parameter(0)
  %p1 = f32[4,2]{1,0} parameter(1)
  ROOT %dot.1 = f32[8,2]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%fused_slice (p0: f32[100,4], p1: s32[]) -> f32[1,4] {
  %p0.1 = f32[100,4]{1,0} parameter(0)
  %p1.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %dynamic-slice.1 = f32[1,4]{1,0} dynamic-slice(%p0.1, %p1.1, %zero), dynamic_slice_sizes={1,4}
}

%inner_body (arg.i: (s32[], f32[4])) -> (s32[], f32[4]) {
  %arg.i = (s32[], f32[4]{0}) parameter(0)
  %gte.i = s32[] get-tuple-element(%arg.i), index=0
  %gte.j = f32[4]{0} get-tuple-element(%arg.i), index=1
  %exp = f32[4]{0} exponential(%gte.j), backend_config={"estimated_cycles":"10"}
  ROOT %tuple.i = (s32[], f32[4]{0}) tuple(%gte.i, %exp)
}

%inner_condition (arg.c: (s32[], f32[4])) -> pred[] {
  %arg.c = (s32[], f32[4]{0}) parameter(0)
  %limit = s32[] constant(6)
  %gte.c = s32[] get-tuple-element(%arg.c), index=0
  ROOT %less = pred[] compare(%gte.c, %limit), direction=LT
}

%body (arg: (s32[], f32[8,4], f32[4,2], f32[100,4])) -> (s32[], f32[8,4], f32[4,2], f32[100,4]) {
  %arg = (s32[], f32[8,4]{1,0}, /*index=2*/f32[4,2]{1,0:T(8,128)S(1)}, f32[100,4]{1,0}) parameter(0)
  %count = s32[] get-tuple-element(%arg), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%arg), index=1
  %w = f32[4,2]{1,0:T(8,128)S(1)} get-tuple-element(%arg), index=2
  %data = f32[100,4]{1,0} get-tuple-element(%arg), index=3
  %one = s32[] constant(1)
  %next = s32[] add(%count, %one)
  %fusion.1 = f32[8,2]{1,0} fusion(%x, %w), kind=kOutput, calls=%fused_dot, backend_config={"estimated_cycles":"300"}
  %fusion.2 = f32[1,4]{1,0} fusion(%data, %count), calls=%fused_slice, backend_config={"estimated_cycles":"7"}
  %copy.1 = f32[8,4]{0,1} copy(%x)
  %copy.2 = f32[8,4]{1,0} copy(%x)
  %transpose.1 = f32[4,8]{1,0} transpose(%x), dimensions={1,0}
  %transpose.2 = f32[4,8]{0,1} transpose(%x), dimensions={1,0}
  %bitcast.1 = f32[4]{0} bitcast(%fusion.2)
  %tuple.0 = (s32[], f32[4]{0}) tuple(%one, %bitcast.1)
  %while.1 = (s32[], f32[4]{0}) while(%tuple.0), condition=%inner_condition, body=%inner_body
  ROOT %tuple.1 = (s32[], f32[8,4]{1,0}, f32[4,2]{1,0}, f32[100,4]{1,0}) tuple(%next, %copy.2, %w, %data)
}

%condition (arg.d: (s32[], f32[8,4], f32[4,2], f32[100,4])) -> pred[] {
  %arg.d = (s32[], f32[8,4]{1,0}, f32[4,2]{1,0}, f32[100,4]{1,0}) parameter(0)
  %gte.d = s32[] get-tuple-element(%arg.d), index=0
  %steps = s32[] constant(5)
  ROOT %less.d = pred[] compare(%gte.d, %steps), direction=LT
}

ENTRY %main (a: s32[], b: f32[8,4], c: f32[4,2], d: f32[100,4]) -> f32[8,4] {
  %a = s32[] parameter(0)
  %b = f32[8,4]{1,0} parameter(1)
  %c = f32[4,2]{1,0} parameter(2)
  %d = f32[100,4]{1,0} parameter(3)
  %tuple.2 = (s32[], f32[8,4]{1,0}, f32[4,2]{1,0}, f32[100,4]{1,0}) tuple(%a, %b, %c, %d)
  %while.2 = (s32[], f32[8,4]{1,0}, f32[4,2]{1,0}, f32[100,4]{1,0}) while(%tuple.2), condition=%condition, body=%body
  ROOT %result = f32[8,4]{1,0} get-tuple-element(%while.2), index=1
}
"""


class Program:
    def as_text(self):
        return TEXT


def test_the_kernels_of_the_training_loop_are_counted():
    module = parse(TEXT)
    assert [module.turns(loop) for _, loop in module.loops()] == [5, 6]
    body = training_loop(module, 5)
    assert body == "body"
    counts = [(times, kernel.name) for times, _, kernel in kernels(module, body)]
    names = ["fusion.1", "fusion.2", "copy.1", "copy.2", "transpose.1", "transpose.2"]
    assert counts == [(1, name) for name in names] + [(6, "exp")]
    assert training_loop(module, 7) == "main"  # as where a loop of one step is unrolled


def test_bytes_are_those_between_the_memory_and_the_cores():
    module = parse(TEXT)
    found = {kernel.name: traffic(module, within, kernel) for _, within, kernel in kernels(module, "body")}
    assert found["fusion.1"] == 4 * (8 * 4 + 8 * 2)  # the other operand is on the chip
    assert found["fusion.2"] == 4 * (4 + 4) + 4  # a row of the data, not all of them, and its place
    assert found["copy.1"] == 4 * 2 * 32


def test_an_array_that_changes_the_order_of_its_axes_is_a_transpose_however_it_is_written():
    module = parse(TEXT)
    assert list(transposes(module, "body")) == [
        "f32[8,4]",
        "f32[4,8]",
    ]  # copy.1 and transpose.1; transpose.2 moves nothing


def test_the_cost_says_what_binds():
    cost = cost_of(Program(), 128.0, 5, SPEEDS["v5e"], "bfloat16")
    assert (cost.kernels, cost.products, cost.copies, len(cost.transposes)) == (12, 1, 2, 2)
    assert cost.estimate == pytest.approx((300 + 7 + 60) / 1.5e9)
    assert cost.estimate_of_products == pytest.approx(300 / 1.5e9)
    assert cost.binds == "launches"
    assert cost.seconds == cost.estimate
    assert cost.intensity == pytest.approx(128 / cost.bytes)
    assert cost.said_of_transposes == "2 transposes (f32[8,4], f32[4,8])"
    assert cost._replace(transposes=("f32[2,3]",) * 4).said_of_transposes.endswith("f32[2,3], ...)")
    assert cost._replace(transposes=()).said_of_transposes == "0 transposes"
    assert cost._replace(bytes=0.0).said_of_intensity == "all of it stays on the chip"
    bound = cost_of(Program(), 1e12, 5, SPEEDS["h200"], "float32")
    assert (bound.estimate, bound.binds) == (None, "matrix units")
    assert bound.seconds == pytest.approx(1e12 / 67e12)
    unknown = cost_of(Program(), 128.0, 5, None, "float32")
    assert unknown.binds == "unknown"
    assert unknown.seconds != unknown.seconds  # NaN


@pytest.mark.parametrize("times", [3, 4])
def test_the_loop_of_a_real_program_is_found(times):
    def loop(x):
        return jax.lax.scan(lambda w, _: (jnp.sin(w @ w), None), x, length=times)[0] + jnp.sum(x)

    program = jax.jit(loop).lower(jax.ShapeDtypeStruct((8, 8), jnp.float32)).compile()
    cost = cost_of(program, 0.0, times, None, "float32")
    assert cost.products == 1
    assert cost.transposes == ()
    assert 1 <= cost.kernels <= 4
    other = cost_of(program, 0.0, times + 1, None, "float32")  # no such loop: all turns are counted
    assert other.products == times


@pytest.mark.parametrize("name", ["tpu", "tpu v9:2x2", "nvidia", "nvidia h200:2x2", "cpu:4", "gpu", ""])
def test_what_is_no_target_is_refused_with_those_that_are(name):
    with pytest.raises(ValueError, match='on must be "tpu v5e"'):
        target_of(name)


def test_targets_have_the_devices_of_their_topology():
    counts = {"tpu v5e": 1, "tpu v5e:4x4": 16, "TPU v6e:2x2": 4, "nvidia h200": 1, "nvidia h200:8": 8}
    assert {name: target_of(name).count for name in counts} == counts
    assert (target_of("nvidia h200:8").topology, target_of("tpu v5p").topology) == ("1x1x8", "v5p:2x2x1")
