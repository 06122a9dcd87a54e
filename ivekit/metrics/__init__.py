"""How well codes tell of known factors, and predictions of the truth: arrays in, numbers out.

Nothing here knows torch or how a model is trained. Rows come first everywhere: ``codes`` are ``(n, k)``, one row a
trial and one column a latent; ``factors`` are ``(n, f)``, an array or a data frame, whose column names errors then use.
"""

from .classes import accuracy, auc, balanced_accuracy, confusion, decoding, interval, interval_over
from .codes import active_units, block_readout, block_score, mig, readout, relation, scores
from .errors import bootstrap, r2
from .fields import calibration, coverage, relative_error
from .localisation import auroc, mass_lift, precision_lift, rank_accuracy
from .samples import crps, energy_score
from .similarity import dtw, hit_rate, localisation_auc, mae, mse, psnr, ssim
from .waveforms import pearson, psd_correlation, snr_db, ssim_1d, summary, waveforms

__all__ = [
    "accuracy", "active_units", "auc", "auroc", "balanced_accuracy", "block_readout", "block_score", "bootstrap",
    "calibration", "confusion", "coverage", "crps", "decoding", "dtw", "energy_score", "hit_rate", "interval",
    "interval_over", "localisation_auc", "mae", "mass_lift", "mig", "mse", "pearson", "precision_lift",
    "psd_correlation", "psnr", "r2", "rank_accuracy", "readout", "relation", "relative_error", "scores", "snr_db",
    "ssim", "ssim_1d", "summary", "waveforms",
]  # fmt: skip
