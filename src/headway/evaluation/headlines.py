"""The headline metrics and their names in reports. Light to import, for code that only shows numbers."""

#: For the last three, smaller is better.
HEADLINES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "negative_log_likelihood": "NLL",
    "brier_score": "Brier score",
    "expected_calibration_error": "calibration error",
}
