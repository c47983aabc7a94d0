"""Drift and loss of a champion in use, with a stated risk of a false alarm over its whole term.

The modules here are the statistics, as pure functions and small states: nothing is read from disk, and nothing is decided about
the registry.

- Without labels: :mod:`~headway.monitoring.conformal` turns a score of each row into a p-value, and
  :mod:`~headway.monitoring.martingale` bets against these. :mod:`~headway.monitoring.accuracy_estimate` and
  :mod:`~headway.monitoring.label_shift` say what the drift may cost and how the classes moved.
- With labels: :mod:`~headway.monitoring.loss` tests the promised accuracy, and :mod:`~headway.monitoring.guard` compares the
  former champion with the champion.
- :mod:`~headway.monitoring.capital` holds what all bets have in common.
"""
