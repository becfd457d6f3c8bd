"""THE list of classification measures: name, definition, direction."""

CLASSIFICATION_METRIC_DEFINITIONS: dict[str, str] = {
    "accuracy": "share of cases with the right class; with several labels the mean over labels",
    "exact_match": "several labels: share of cases with every label right",
    "balanced_accuracy": "mean recall over the classes that have cases; with several labels the mean over "
    "labels, which some cases carry and some do not, of (sensitivity + specificity) / 2",
    "precision": "TP / (TP + FP) of a class against the rest",
    "recall": "TP / (TP + FN) of a class against the rest: its sensitivity",
    "specificity": "TN / (TN + FP) of a class against the rest",
    "f1": "2·TP / (2·TP + FP + FN) of a class against the rest",
    "macro_precision": "mean over classes that have cases; a class never predicted counts 0",
    "macro_recall": "mean over classes that have cases",
    "macro_specificity": "mean over classes that have cases",
    "macro_f1": "mean over classes that have cases",
    "auroc": "area under the ROC curve of a class against the rest, ties one half; over several classes the "
    "mean of those that have cases",
    "auprc": "average precision, Σ (Rₙ − Rₙ₋₁)·Pₙ, no interpolation; over several classes the mean of those "
    "that have cases",
    "mcc": "Matthews correlation coefficient, Gorodkin's for several classes; with several labels the mean "
    "over those that some cases carry and some do not",
    "kappa": "Cohen's kappa, unweighted; with several labels the mean over those that some cases carry and "
    "some do not",
    "brier": "mean squared error of the probability, of the positive class for two classes (0 to 1), summed "
    "over classes for more (0 to 2), mean over labels for several labels",
    "ece": "expected calibration error, 15 bins of equal width: of the positive class for two classes, of "
    "the most probable one for more, mean over labels for several labels; resampling adds noise, so its "
    "interval lies high",
}
"""Name → one line for a table's foot."""

CLASSIFICATION_METRIC_HIGHER_IS_BETTER: dict[str, bool] = {
    name: name not in ("brier", "ece") for name in CLASSIFICATION_METRIC_DEFINITIONS
}
"""Name → whether a larger value is a better one."""
