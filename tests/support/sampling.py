"""The sample of the largest grids of tests: another one in each run, by a seed that the run prints."""

import os
import secrets
import zlib

# pytest-xdist's workers inherit the environment, and so the seed
SEED = os.environ.setdefault("REGOPT_SAMPLE_SEED", str(secrets.randbelow(10**6)))


def drawn(name: str, share: int, seed: str = SEED) -> bool:
    """Whether a cell is in the sample, one in ``share`` of all."""
    return zlib.crc32(f"{seed} {name}".encode()) % share == 0
