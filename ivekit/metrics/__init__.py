"""How well codes tell of known factors, and predictions of the truth: arrays in, numbers out.

Nothing here knows torch or how a model is trained. Rows come first everywhere: ``codes`` are ``(n, k)``, one row a
trial and one column a latent; ``factors`` are ``(n, f)``, an array or a data frame, whose column names errors then use.
"""

from .across import MCC, linear, mcc, rotation, shuffled_readout, udr
from .classes import accuracy, auc, balanced_accuracy, confusion, decoding, interval, interval_over
from .codes import block_readout, block_score, readout, relation, scores
from .counting import Binned, factor_bins, rank_bins, width_bins
from .errors import bootstrap, r2
from .fields import calibration, coverage, relative_error
from .information import (
    InfoMEC,
    active_units,
    dcimig,
    infomec,
    jemmig,
    mig,
    mig_sup,
    modularity,
    mutual_information,
    total_correlation,
)
from .interventional import beta_vae, factor_vae, irs
from .localisation import auroc, mass_lift, precision_lift, rank_accuracy
from .prediction import DCI, dci, explicitness, gradient_boosting, lasso, nk, random_forest, sap, snc
from .samples import crps, energy_score
from .similarity import dtw, hit_rate, localisation_auc, mae, mse, psnr, ssim
from .uncertainty import WithFloor, score_table, with_floor
from .waveforms import pearson, psd_correlation, snr_db, ssim_1d, summary, waveforms

__all__ = [
    "DCI", "MCC", "Binned", "InfoMEC", "WithFloor", "accuracy", "active_units", "auc", "auroc", "balanced_accuracy",
    "beta_vae", "block_readout", "block_score", "bootstrap", "calibration", "confusion", "coverage", "crps", "dci",
    "dcimig", "decoding", "dtw", "energy_score", "explicitness", "factor_bins", "factor_vae", "gradient_boosting",
    "hit_rate", "infomec", "interval", "interval_over", "irs", "jemmig", "lasso", "linear", "localisation_auc", "mae",
    "mass_lift", "mcc", "mig", "mig_sup", "modularity", "mse", "mutual_information", "nk", "pearson", "precision_lift",
    "psd_correlation", "psnr", "r2", "random_forest", "rank_accuracy", "rank_bins", "readout", "relation",
    "relative_error", "rotation", "sap", "score_table", "scores", "shuffled_readout", "snc", "snr_db", "ssim",
    "ssim_1d", "summary", "total_correlation", "udr", "waveforms", "width_bins", "with_floor",
]  # fmt: skip
