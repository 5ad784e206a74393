"""A store's contents that say which they are, for the tests of the store."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from regopt._core import io
from regopt.sweep import checkpoint
from regopt.sweep.checkpoint import StoreError
from regopt.sweep.checkpoint import _manifest as manifest

IDENTITY = {
    **io.environment(),
    "chunk": 8,
    "data": io.digest({"inputs": np.arange(6.0)}),
    "config": {"steps": 100, "learning_rate": [1e-3, 1e-1]},
}


def opened(folder, identity=IDENTITY, **options):
    return checkpoint.opened(folder, identity, **{"say": lambda line: pytest.fail(line), **options})


def numbered(number):
    """A state that says which it is."""
    return {"a": np.full(40, number), "b": np.full((2, 3), -number, np.float32)}


def save_numbered(kept, *numbers):
    for number in numbers:
        kept.save(number, numbered(number))


def check_numbered(kept):
    """The state that is loaded is one of those saved, whole."""
    tree = numbered(kept.number)
    found = kept.load(tree)
    for name, leaf in tree.items():
        assert found[name].dtype == leaf.dtype
        assert found[name].tobytes() == leaf.tobytes()


def rubbish(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(io.TEMPORARY) or "tmp" in path.name]


def vouch_for(state, **changes):
    """Write a state's manifest as if its files were what was saved, with some entries changed or (None) missing."""
    content = json.loads((state / manifest.MANIFEST).read_text())["content"]
    files = {path.name: path.read_bytes() for path in state.glob("*.npy")}
    records = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    content = {**content, "files": records, **changes}
    content = {name: value for name, value in content.items() if value is not None}
    (state / manifest.MANIFEST).write_text(json.dumps({"sha256": io.digest_json(content), "content": content}))


def damage_file(path, draw):
    """One of the things that disks and people do to a file."""
    data = bytearray(path.read_bytes())
    at = draw.randrange(len(data))
    match draw.choice(["flip", "flip", "zero", "cut", "grow", "delete", "empty"]):
        case "flip":
            data[at] ^= 1 << draw.randrange(8)
        case "zero":
            data[at : at + 64] = bytes(len(data[at : at + 64]))
        case "cut":
            del data[at:]
        case "grow":
            data += b"\n"
        case "delete":
            path.unlink()
            return
        case "empty":
            data.clear()
    path.write_bytes(data)


def attempt(do):
    """The message with which it is refused; None if it is not."""
    try:
        do()
    except StoreError as error:
        return str(error)
    return None


def run_script(script, *arguments):
    """What a process of its own prints; it forks, which one with JAX's threads must not."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [
        sys.executable,
        "-W",
        "ignore:os.fork:RuntimeWarning",
        "-W",
        "ignore:This process:DeprecationWarning",
        "-c",
        script,
        *map(str, arguments),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout.split()
