"""Registry: the gate that decides, and the promotion that carries the decision out in MLflow's model registry."""
