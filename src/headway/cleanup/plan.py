"""Everything that a cleanup of a project keeps and removes, in the order of removal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from headway import tracking_database
from headway.cleanup import dvc_cache, models, prediction_log, scratch
from headway.cleanup.group import Group as Group
from headway.layout import Layout
from headway.promotion.project import Project


def plan(project: Project, keep: int, revisions: Sequence[str]) -> list[Group]:
    """What stays and what goes; nothing is removed yet. The caller holds the project's lock until the steps are done.

    Args:
        keep: number of the newest versions, and of the newest pipeline runs, that stay in any case.
        revisions: git commits, branches or tags whose files stay in DVC's cache, beside those of HEAD and of the working folder.

    Raises:
        HeadwayError: it cannot be determined what is needed, or the registered model belongs to another project; nothing was
            removed.
    """
    project.registry.require_own()
    groups = [
        *models.plan(project, keep),
        *dvc_cache.plan(project.layout, revisions),
        *scratch.plan(project.params, project.layout),
        *prediction_log.plan(project.params.serving.log, project.layout),
    ]
    if project.registry.tracker.own:
        groups.append(_database(project.layout, any(group.goes for group in groups)))
    return [group for group in groups if group.count or group.goes]


def _database(layout: Layout, removed: bool) -> Group:
    """The space in the project's MLflow database that removed runs have used; how much it is is known afterwards."""
    size = tracking_database.unused_bytes(layout)
    steps = (partial(tracking_database.shrink, layout),) if size or removed else ()
    return Group("MLflow database", len(steps), size, "space that removed runs have used", steps)
