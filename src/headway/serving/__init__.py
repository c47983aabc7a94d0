"""Serving: the model package, its latency, explanations of its predictions, and MLflow's interface to it."""
