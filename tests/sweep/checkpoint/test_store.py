"""The store of a sweep: what comes back is bit for bit what was saved, of the same run, or a line says why not."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from regopt._core import io
from regopt.sweep import checkpoint
from regopt.sweep.checkpoint import StoreMismatchError
from regopt.sweep.checkpoint import _arrays as leaves
from regopt.sweep.checkpoint import _manifest as reading
from support.stores import IDENTITY, check_numbered, numbered, opened, rubbish, save_numbered


@pytest.fixture
def unsynced(monkeypatch):
    """Without waiting for the disk, in tests that crash nothing."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def over(devices, *, axis=0, backwards=False):
    """One axis over so many devices."""
    found = jax.devices()[:devices]
    mesh = Mesh(np.array(found[::-1] if backwards else found), ("lanes",))
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "lanes"))


# Bits


def every_dtype(devices):
    """Leaves of random bits, NaNs with payloads among them: JAX arrays on the devices, and NumPy arrays."""
    rng = np.random.default_rng(3)
    spread = over(devices)
    names = ["int4", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
    names += ["float8_e4m3fn", "float16", "bfloat16", "float32", "complex64"]
    if jax.config.read("jax_enable_x64"):
        names += ["int64", "float64", "complex128"]

    def draw(dtype, shape):
        if dtype == jnp.int4:  # half of its byte must be clear
            return rng.integers(-8, 8, shape).astype(dtype)
        return rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype).reshape(shape)

    tree = {name: jax.device_put(draw(jnp.dtype(name), (4, 3)), spread) for name in names}
    return {
        **tree,
        "large": jax.device_put(draw(np.dtype(np.float32), (8, 100)), spread),
        "backwards": jax.device_put(draw(np.dtype(np.float32), (8, 100)), over(devices, backwards=True)),
        "by columns": jax.device_put(draw(np.dtype(np.float32), (8, 100)), over(devices, axis=1)),
        "bool": jax.device_put(rng.random(4) < 0.5, spread),
        "scalar": jax.device_put(draw(np.dtype(np.float32), ())),
        "empty": jnp.zeros((0, 3)),
        "keys": (jax.device_put(jax.random.split(jax.random.key(1), 4), spread), jax.random.key(2, impl="rbg")),
        "numpy": [draw(np.dtype(np.float64), (5,)), draw(np.dtype(np.int64), ()), np.array(["a", "bcd"]), 7],
        "large numpy": draw(np.dtype(np.float64), (300,)),
        "nothing": None,
    }


def form_of(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) if isinstance(leaf, jax.Array) else leaf


def bits(leaf):
    is_keys = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_keys else leaf).tobytes()


@pytest.mark.parametrize("devices", [1, 2])
def test_what_is_loaded_has_the_bits_dtypes_and_devices_of_what_was_saved(tmp_path, devices, monkeypatch):
    monkeypatch.setattr(leaves, "LARGE", 1000)
    tree = every_dtype(devices)
    like = jax.tree.map(form_of, tree)
    with opened(tmp_path) as kept:
        assert kept.load(like) is None
        assert kept.number is None
        kept.save(3, tree)
        assert len(list(tmp_path.rglob("*.npy"))) == 1 + 4 + 2 * (devices - 1)  # the large leaves in their pieces
        here = kept.load(like)
    with opened(tmp_path) as kept:
        assert kept.number == 3
        again = kept.load(like)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    for leaf, *others in zip(*map(jax.tree.leaves, (tree, here, again)), strict=True):
        for other in others:
            assert bits(other) == bits(leaf)
            assert isinstance(other, jax.Array) == isinstance(leaf, jax.Array)
            if isinstance(leaf, jax.Array):
                assert (other.dtype, other.shape, other.sharding) == (leaf.dtype, leaf.shape, leaf.sharding)
    assert again["numpy"][0].flags.writeable


@pytest.mark.parametrize("devices", [1, 2])
def test_a_saved_array_may_be_donated_at_once(tmp_path, devices, monkeypatch):
    monkeypatch.setattr(leaves, "LARGE", 4)  # pieces are saved as they lie on the devices
    step = jax.jit(lambda x: x * 2, donate_argnums=0)
    x = jax.device_put(jnp.arange(8.0), over(devices))
    with opened(tmp_path) as kept:
        for number in range(3):
            kept.save(number, {"x": x})
            x = step(x)
        np.testing.assert_array_equal(kept.load({"x": np.zeros(8, x.dtype)})["x"], np.arange(8.0) * 4)


def test_a_refusal_is_one_line_of_printable_characters_whatever_it_names():
    error = checkpoint.StoreError("cannot read a\nfolder named \x1b[31m")
    assert str(error) == "cannot read a folder named \\x1b[31m"


def test_objects_are_no_arrays(tmp_path):
    with opened(tmp_path) as kept, pytest.raises(TypeError, match="arrays of numbers as leaves"):
        kept.save(0, {"a": np.array([{}])})


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros(2)}, r"leaf 'a' was float64\[2\], is float64\[3\]"),
        ({"a": np.zeros((2, 1)), "b": np.zeros(2)}, r"leaf 'a' was float64\[2\], is float64\[2, 1\]"),
        ({"a": np.zeros(2), "b": np.zeros(2, np.float32)}, r"leaf 'b' was float64\[2\], is float32\[2\]"),
        ({"a": np.zeros(2), "b": np.zeros(2, np.int64)}, "leaf 'b' was float64.*, is int64"),
        ({"a": np.zeros(2), "b": jnp.zeros(2, jnp.bfloat16)}, "leaf 'b' was float64.*, is bfloat16"),
        ({"a": np.zeros(2)}, r"leaf 'b' was float64\[2\], is not there"),
        ({"a": np.zeros(2), "b": np.zeros(2), "c": np.zeros(2)}, "leaf 'c' was not there, is float64"),
        ({"a": np.zeros(2), "c": np.zeros(2)}, "leaf 'b' was .*, is not there"),
        ({"a": np.zeros(2), "b": {"b": np.zeros(2)}}, "leaf 'b' was .*, is not there"),
        ([np.zeros(2), np.zeros(2)], "leaf 'a' was .*, is not there"),
        ({"a": np.zeros(2), "b": jax.random.split(jax.random.key(0))}, "leaf 'b' was float64.*, is key<fry>"),
        ({"a": np.zeros(2), "b": 0.0}, r"leaf 'b' was float64\[2\], is float64\[\]"),
    ],
)
def test_a_state_of_another_form_is_refused_by_its_leaf(tmp_path, unsynced, like, message):
    with opened(tmp_path) as kept:
        kept.save(0, {"a": np.zeros(2), "b": np.zeros(2)})
        with pytest.raises(StoreMismatchError, match=f"the state in .* is of another run: {message}"):
            kept.load(like)


# Identity


def changed(path, value):
    identity = json.loads(json.dumps(IDENTITY))
    *parents, name = path.split(".")
    inner = identity
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    return identity


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    with opened(folder) as kept:
        save_numbered(kept, 0)
    return folder


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((f"versions.{name}", "0.0.1") for name in ("python", "jax", "jaxlib", "regopt", "optax", "flax")),
        ("device.kind", "TPU v9"),
        ("device.count", 64),
        ("options.jax_enable_x64", not IDENTITY["options"]["jax_enable_x64"]),
        ("flags", "--xla_cpu_enable_fast_math=true"),
        ("chunk", 16),
        ("chunk", 8.0),
        ("data", "0" * 64),
        ("config.steps", 200),
        ("config.learning_rate", [1e-3, 1.0]),
        ("config.patience", 3),
    ],
)
def test_another_identity_is_refused_by_its_leaf_or_allowed_aloud(saved_once, path, value):
    with (
        pytest.raises(
            StoreMismatchError, match=rf"holds another run: {path} was .*, is .*(allow_different|extend)=True"
        ) as raised,
        opened(saved_once, changed(path, value)),
    ):
        pass
    assert "\n" not in str(raised.value)
    said = []
    with opened(saved_once, changed(path, value), allow_different=True, say=said.append) as kept:
        check_numbered(kept)
    assert len(said) == 1
    assert f"although {path} was " in said[0]


def test_the_environment_sees_what_changes_bits(monkeypatch):
    def paths():
        return [line.split()[0] for line in checkpoint.differences(IDENTITY, {**IDENTITY, **io.environment()})]

    assert paths() == []
    with jax.enable_x64(not IDENTITY["options"]["jax_enable_x64"]):
        assert paths() == ["options.jax_enable_x64"]
    with jax.default_matmul_precision("bfloat16"):
        assert paths() == ["options.jax_default_matmul_precision"]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert paths() == ["flags"]
    assert io.environment(jax.devices()[:1])["device"]["count"] == 1


def test_a_digest_sees_every_bit_the_dtype_the_shape_and_the_name():
    base = {"a": np.arange(4.0), "b": np.zeros((0, 3))}
    flipped = base["a"].copy()
    flipped.view(np.uint64)[2] ^= 1
    trees = [
        base,
        {**base, "a": flipped},
        {**base, "a": base["a"].view(np.int64)},
        {**base, "a": base["a"].reshape(2, 2)},
        {**base, "b": np.zeros((3, 0))},
        {"a": base["a"], "c": base["b"]},
        {**base, "key": jax.random.key(0)},
    ]
    assert len({io.digest(tree) for tree in trees}) == len(trees)
    single = base["a"].astype(np.float32)
    assert io.digest({"a": jnp.asarray(single)}) == io.digest({"a": single})
    assert io.digest({"a": single[::2]}) == io.digest({"a": single[::2].copy()})


# What is kept, and what is read


def test_two_states_are_kept(tmp_path, unsynced):
    with opened(tmp_path) as kept:
        assert checkpoint.read(tmp_path) is None
        save_numbered(kept, *range(5))
        check_numbered(kept)
    assert len(reading.state_folders(tmp_path)) == 2
    assert not (tmp_path / "lock.json").exists()
    assert rubbish(tmp_path) == []


def test_the_newest_of_more_than_a_million_states_is_found(tmp_path, unsynced):
    with opened(tmp_path) as kept:
        save_numbered(kept, 1)
    (tmp_path / "states" / "000000").rename(tmp_path / "states" / "999999")
    with opened(tmp_path) as kept:
        save_numbered(kept, 2)
        save_numbered(kept, 3)
    assert checkpoint.read(tmp_path).number == 3


def test_a_running_sweep_can_be_read(tmp_path, unsynced):
    with opened(tmp_path) as kept:
        save_numbered(kept, 1, 2)
        assert checkpoint.holder(tmp_path).pid == os.getpid()
        found = checkpoint.read(tmp_path)
        assert (found.number, found.done) == (2, False)
        assert found.identity["config"] == IDENTITY["config"]
        kept.save(3, numbered(3), done=True)
    assert checkpoint.holder(tmp_path) is None
    with opened(tmp_path) as kept:
        assert (kept.number, kept.done) == (3, True)


@pytest.mark.parametrize("version", [2, 4])
def test_the_format_of_another_version_is_left_alone(tmp_path, unsynced, monkeypatch, version):
    assert reading.FORMAT == 3
    monkeypatch.setattr(reading, "FORMAT", version)
    with opened(tmp_path) as kept:
        save_numbered(kept, 1)
    before = {path: path.read_bytes() for path in (tmp_path / "states").rglob("*") if path.is_file()}
    monkeypatch.undo()
    match = f"has format {version}, of another version of regopt"
    with pytest.raises(StoreMismatchError, match=match), opened(tmp_path):
        pass
    with pytest.raises(StoreMismatchError, match=match):
        checkpoint.read(tmp_path)
    assert before == {path: path.read_bytes() for path in (tmp_path / "states").rglob("*") if path.is_file()}
