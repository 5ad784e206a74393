"""Points where the gradient is zero: their number, their index, the search for them and the way to leave them.

The index of a critical point is the number of negative eigenvalues of the Hessian there: 0 at a minimum, all at a
maximum, and both signs occur at a saddle. Dense functions form the Hessian and are meant for up to a few hundred
parameters; ``negative_share`` needs products with it alone. Newton's method that saddles repel is
``regopt.newton(saddle_free=True)``.
"""

from regopt.analysis.critical_points._autoencoder import (
    autoencoder_loss,
    autoencoder_points,
    autoencoder_values,
)
from regopt.analysis.critical_points._descent import (
    TaylorTerms,
    escape_time,
    matrix_power,
    taylor_terms,
)
from regopt.analysis.critical_points._point import (
    CriticalPoint,
    Inertia,
    find_critical_point,
    hessian_spectrum,
    inertia,
    negative_share,
)
from regopt.analysis.critical_points._theory import WellCounts, semicircle_negative_share, well_counts, wells

__all__ = [
    "CriticalPoint",
    "Inertia",
    "TaylorTerms",
    "WellCounts",
    "autoencoder_loss",
    "autoencoder_points",
    "autoencoder_values",
    "escape_time",
    "find_critical_point",
    "hessian_spectrum",
    "inertia",
    "matrix_power",
    "negative_share",
    "semicircle_negative_share",
    "taylor_terms",
    "well_counts",
    "wells",
]
