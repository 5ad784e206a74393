"""Curvature of an objective without its matrix: products with the Hessian, and spectra by Lanczos."""

from regopt.curvature._curvature import SpectralMeasure, gauss_newton_product, hessian_product, spectral_measure

__all__ = ["SpectralMeasure", "gauss_newton_product", "hessian_product", "spectral_measure"]
