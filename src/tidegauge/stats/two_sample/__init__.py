"""Two-sample statistics: (baseline, window) -> frozen result, one in a file."""

from tidegauge.stats.two_sample.categories import Categories
from tidegauge.stats.two_sample.chi_squared import chi_squared
from tidegauge.stats.two_sample.cramer_von_mises import cramer_von_mises
from tidegauge.stats.two_sample.energy_distance import energy_distance
from tidegauge.stats.two_sample.hellinger import hellinger
from tidegauge.stats.two_sample.jensen_shannon import jensen_shannon
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov, kolmogorov_smirnov_columns
from tidegauge.stats.two_sample.mmd import mmd
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.stats.two_sample.psi import psi
from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.total_variation import total_variation
from tidegauge.stats.two_sample.vectors import Vectors
from tidegauge.stats.two_sample.wasserstein import wasserstein

__all__ = [
    "Categories",
    "Numbers",
    "TwoSample",
    "Vectors",
    "chi_squared",
    "cramer_von_mises",
    "energy_distance",
    "hellinger",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "kolmogorov_smirnov_columns",
    "mmd",
    "psi",
    "total_variation",
    "wasserstein",
]
