"""``headway doctor``: checks of the machine, the installation and the project that work where nothing else does.

One module for each group of checks. Nothing here changes anything, imports PyTorch or MLflow, or needs a project that is whole.
"""
