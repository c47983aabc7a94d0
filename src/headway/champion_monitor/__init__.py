"""Watches the champion at work: reads the prediction log since the champion took over, and says whether it is still as good.

What is computed from the answers is in :mod:`headway.monitoring`; the champion's term, the log, labels and files are read here.
"""
