"""The metrics that reports lead with, by what people call them. Light to import: who only shows numbers computes none."""

#: The last three are better when smaller.
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
