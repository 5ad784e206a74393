"""Parts of the experiments' figures that several of them share."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

STYLE = Path(__file__).parents[2] / "experiments" / "_style.py"


@pytest.mark.parametrize("levels", [4, 1])
def test_the_cells_of_a_heatmap_are_equally_wide_on_logarithmic_axes(levels):
    spec = importlib.util.spec_from_file_location("figure_style", STYLE)
    assert spec is not None
    assert spec.loader is not None
    style = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(style)
    axes = Figure().subplots()
    x, y = np.geomspace(1e-4, 1.0, levels), np.array([0.1, 1.0, 10.0])
    style.heatmap(axes, x, y, np.ones((levels, 3)), labels=("x", "y", "loss"))
    (mesh,) = axes.collections
    assert isinstance(mesh, QuadMesh)
    borders = np.asarray(mesh.get_coordinates())
    np.testing.assert_allclose(np.sqrt(borders[0, 1:, 0] * borders[0, :-1, 0]), x)
    np.testing.assert_allclose(np.sqrt(borders[1:, 0, 1] * borders[:-1, 0, 1]), y)
    assert axes.get_xlim() == pytest.approx((borders[0, 0, 0], borders[0, -1, 0]))
