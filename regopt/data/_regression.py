"""Small regression data sets from textbooks, in the units of their sources."""

from importlib.resources import files

import numpy as np

from regopt.data._loaders import Splits

DIABETES_NAMES = ("age", "sex", "bmi", "map", "tc", "ldl", "hdl", "tch", "ltg", "glu")
PROSTATE_NAMES = ("lcavol", "lweight", "age", "lbph", "svi", "lcp", "gleason", "pgg45")


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Diabetes: 442 patients, 10 measurements, and the progression of the disease after one year.

    Returns:
        ``(x [442, 10] float64, y [442] float64)``: the columns of x, named in ``DIABETES_NAMES``, have mean 0 and
        length 1. y lies between 25 and 346 and is not centred.

    Raises:
        ImportError: scikit-learn is not installed.

    Example:
        >>> from regopt.data import diabetes
        >>> x, y = diabetes()
        >>> x.shape, y.shape
        ((442, 10), (442,))

    References:
        Efron, B., Hastie, T., Johnstone, I., & Tibshirani, R. (2004). Least angle regression. Annals of Statistics,
        32(2), 407-499. Table 1, as shipped by ``sklearn.datasets.load_diabetes``.
    """
    try:
        from sklearn.datasets import load_diabetes
    except ImportError as error:
        raise ImportError("data.diabetes needs scikit-learn: pip install 'regopt[experiments]'") from error
    x, y = load_diabetes(return_X_y=True)
    return np.asarray(x), np.asarray(y)


def prostate() -> Splits:
    """Prostate cancer: 97 men, 8 clinical measures, and the logarithm of the prostate-specific antigen.

    Returns:
        Splits of ``(x [n, 8] float64, y [n] float64)`` in the units of the source, with columns named in
        ``PROSTATE_NAMES``. As in the source, 67 men are for training, none for validation and 30 for testing.

    Example:
        >>> from regopt.data import prostate
        >>> splits = prostate()
        >>> splits.train[0].shape, splits.test[0].shape
        ((67, 8), (30, 8))

    References:
        Stamey, T. A., Kabalin, J. N., McNeal, J. E., Johnstone, I. M., Freiha, F., Redwine, E. A., & Yang, N. (1989).
        Prostate specific antigen in the diagnosis and treatment of adenocarcinoma of the prostate. II. Radical
        prostatectomy treated patients. Journal of Urology, 141(5), 1076-1083.

        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Section 3.2.1, whose authors publish the table as ``prostate.data``.
    """
    with files("regopt.data").joinpath("prostate.tsv").open() as lines:
        rows = np.genfromtxt(lines, delimiter="\t", skip_header=1, usecols=range(1, 11), autostrip=True)
    x, y, train = rows[:, :8], rows[:, 8], rows[:, 9] == 1
    return Splits((x[train], y[train]), None, (x[~train], y[~train]))
