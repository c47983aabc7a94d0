"""The versions that work on several machines must agree in. The function here is sent to a machine by its code, not by its name,
because Headway may be missing there; so it uses nothing of this module.
"""

from __future__ import annotations


def versions() -> dict[str, str]:
    """Versions of Headway, Python, PyTorch and Ray on this machine; "" for what is missing."""
    import platform
    from importlib import metadata

    found = {"Python": platform.python_version()}
    for name, package in (("Headway", "headway"), ("PyTorch", "torch"), ("Ray", "ray")):
        try:
            found[name] = metadata.version(package).partition("+")[0]  # builds for CPUs and GPUs may work together
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found
