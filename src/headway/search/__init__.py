"""Search: a study of hyperparameters that can be killed at any time and continued."""
