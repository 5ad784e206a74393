"""Links to the documentation of other libraries, where their inventories can be fetched.

An inventory that cannot be fetched is named in one line and left out, so that a build without a network has no
warning. With ``REGOPT_DOCS_OFFLINE=1`` none is asked for.
"""

import os
import urllib.error
import urllib.request
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

SITES = {
    "python": "https://docs.python.org/3/",
    "jax": "https://docs.jax.dev/en/latest/",
    "optax": "https://optax.readthedocs.io/en/latest/",
    "flax": "https://flax.readthedocs.io/en/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "sklearn": "https://scikit-learn.org/stable/",
}
SECONDS = 5
logger = logging.getLogger(__name__)


def fetch(app: Sphinx, config: Config) -> None:
    """Give intersphinx the inventories that are there, from the folder of the build."""
    folder = Path(app.srcdir) / "_build" / "inventories"
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for name, site in SITES.items():
        kept = folder / f"{name}.inv"
        if not kept.exists() and not _download(f"{site}objects.inv", kept):
            missing.append(name)
        else:
            config.intersphinx_mapping[name] = (site, str(kept))
    if missing:
        logger.info("no links to %s: their inventories could not be fetched", ", ".join(missing))


def _download(address: str, target: Path) -> bool:
    if os.environ.get("REGOPT_DOCS_OFFLINE") == "1":
        return False
    request = urllib.request.Request(address, headers={"User-Agent": "sphinx"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            content = answer.read()
    except (urllib.error.URLError, OSError):
        return False
    if not content.startswith(b"# Sphinx inventory version 2"):
        return False
    target.write_bytes(content)
    return True


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension; it comes before intersphinx reads its setting."""
    app.connect("config-inited", fetch, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
