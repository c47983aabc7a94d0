"""``headway init``: look at your own data as a run would, estimate what a run will cost, and fill in params.yaml."""

from headway.init.inspection import Survey, as_yaml, survey, write
from headway.init.summary import show

__all__ = ["Survey", "as_yaml", "show", "survey", "write"]
