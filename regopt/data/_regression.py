"""Small tables with one number to predict, as the textbooks use them; nothing is scaled beyond the source."""

from importlib.resources import files
from typing import Any

import numpy as np

from regopt.data._loaders import Splits

DIABETES_NAMES = ("age", "sex", "bmi", "map", "tc", "ldl", "hdl", "tch", "ltg", "glu")
PROSTATE_NAMES = ("lcavol", "lweight", "age", "lbph", "svi", "lcp", "gleason", "pgg45")


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Diabetes: 442 patients, 10 measurements, and how far the disease had gone a year later.

    Returns:
        ``(x [442, 10] float64, y [442] float64)``: the columns of x, named in ``DIABETES_NAMES``, have mean 0 and
        length 1; y is between 25 and 346, not centred.

    Raises:
        ImportError: scikit-learn is not installed.

    References: Efron, Hastie, Johnstone & Tibshirani (2004), table 1, as shipped by ``sklearn.datasets.load_diabetes``.
    """
    try:
        from sklearn.datasets import load_diabetes
    except ImportError as error:
        raise ImportError("data.diabetes needs scikit-learn: pip install 'regopt[experiments]'") from error
    bunch: Any = load_diabetes()
    return bunch.data, bunch.target


def prostate() -> Splits:
    """Prostate cancer: 97 men, 8 clinical measures, and the logarithm of the prostate-specific antigen.

    Returns:
        Splits of ``(x [n, 8] float64, y [n] float64)`` in the measures' own units, columns named in
        ``PROSTATE_NAMES``: 67 men to train, none to validate, 30 to test, as the source divides them.

    References: Stamey et al. (1989); Hastie, Tibshirani & Friedman (2009), section 3.2.1, whose authors publish the
    table as ``prostate.data``.
    """
    with files("regopt.data").joinpath("prostate.tsv").open() as lines:
        rows = np.genfromtxt(lines, delimiter="\t", skip_header=1, usecols=range(1, 11), autostrip=True)
    x, y, train = rows[:, :8], rows[:, 8], rows[:, 9] == 1
    return Splits((x[train], y[train]), None, (x[~train], y[~train]))
