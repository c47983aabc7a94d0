"""MLflow's model registry as storage: versions, model packages, aliases, and the log that decisions are kept in.

Nothing here decides anything: see :mod:`headway.promotion`.
"""
