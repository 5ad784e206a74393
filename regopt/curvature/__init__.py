"""Curvature of an objective without its matrix: products with the Hessian, and the spectrum that a vector sees."""

from regopt.curvature._curvature import SpectralMeasure, gauss_newton_product, hessian_product, spectral_measure

__all__ = ["SpectralMeasure", "gauss_newton_product", "hessian_product", "spectral_measure"]
