"""Data sets that ship with scikit-learn, divided into fixed training, validation and test parts."""

from typing import NamedTuple

import numpy as np

from regopt._core.types import Tree


class Splits(NamedTuple):
    """The parts of a data set, each a pytree of arrays with the examples along the first axis.

    A cross-validation, by a column ``fold`` of a sweep, needs no validation part.
    """

    train: Tree
    validation: Tree = None
    test: Tree = None


def digits(validation: int = 360, test: int = 360, seed: int = 0) -> Splits:
    """Handwritten digits: 1,797 images of 8 x 8 pixels in 10 classes, divided by a fixed stratified shuffle.

    Args:
        validation: number of validation images.
        test: number of test images; the remaining images are for training.
        seed: seed of the shuffle.

    Returns:
        Splits of ``(images [n, 64] float32 in [0, 1], labels [n] int32)``.

    Raises:
        ImportError: scikit-learn is not installed.

    Example:
        >>> from regopt.data import digits
        >>> splits = digits()
        >>> images, labels = splits.train
        >>> images.shape, labels.shape
        ((1077, 64), (1077,))

    References:
        Alpaydin, E., & Kaynak, C. (1998). Optical recognition of handwritten digits. UCI Machine Learning Repository.
        As shipped by ``sklearn.datasets.load_digits``.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError("data.digits needs scikit-learn: pip install 'regopt[experiments]'") from error
    images, labels = load_digits(return_X_y=True)
    examples = (images.astype(np.float32) / 16, labels.astype(np.int32))
    x, x_test, y, y_test = train_test_split(*examples, test_size=test, stratify=examples[1], random_state=seed)
    x, x_validation, y, y_validation = train_test_split(x, y, test_size=validation, stratify=y, random_state=seed)
    return Splits((x, y), (x_validation, y_validation), (x_test, y_test))
