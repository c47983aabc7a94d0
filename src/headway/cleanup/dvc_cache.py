"""What of DVC's cache goes: what neither the working folder, nor HEAD, nor a named commit needs, as ``dvc gc`` decides it.

DVC's command takes one commit only and does not report sizes, so the functions behind it are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.cleanup.group import Group
from headway.errors import HeadwayError, first_line
from headway.files import bytes_of
from headway.git import GitError, commit_hash
from headway.layout import Layout
from headway.preflight import works_without_git

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo


def plan(layout: Layout, revisions: Sequence[str]) -> list[Group]:
    """The cache entries that stay and that go.

    Raises:
        HeadwayError: a revision does not exist, or DVC cannot read what a commit needs.
    """
    commits = _commits(layout, revisions)
    if not (layout.root / ".dvc").is_dir():
        return []
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(layout.root)) as repo:
            hashes = {one.value for one in _used(repo, commits)}
            own, shared = _databases(repo, layout)
            paths = {one: Path(database.oid_to_path(one)) for database in own for one in database.all()}
            others = [Path(database.oid_to_path(one)) for database in shared for one in database.all()]
    except DvcException as error:
        raise HeadwayError(
            f"DVC cannot tell what is in use ({first_line(error)}), so nothing was removed; run `make run`, or `dvc fetch` from "
            "a remote, so that its cache has what dvc.lock names"
        ) from None
    stay = [path for one, path in paths.items() if one in hashes]
    go = {one: path for one, path in paths.items() if one not in hashes}
    why = "of HEAD and the working folder" + (f", of {', '.join(revisions)}" if revisions else "")
    steps = (partial(_remove, layout, frozenset(go), commits),) if go else ()
    outside = min((str(Path(database.path).resolve()) for database in shared), default="")
    return [
        Group("DVC cache entries", len(stay), sum(map(bytes_of, stay)), why),
        Group("DVC cache entries", len(go), sum(map(bytes_of, go.values())), "of other commits, or of none", steps),
        Group("DVC cache entries", len(others), sum(map(bytes_of, others)), f"other projects may need them: {outside}"),
    ]


def _commits(layout: Layout, revisions: Sequence[str]) -> list[str]:
    """Hashes of HEAD, if there is a commit, and of the named revisions; none if DVC works without git.

    Raises:
        HeadwayError: a revision does not exist, or DVC works without git.
    """
    if works_without_git(layout):
        if revisions:
            raise HeadwayError(
                f"--rev {revisions[0]}: DVC works without git here (core.no_scm in .dvc/config); leave out --rev"
            )
        return []
    commits = []
    for revision in ("HEAD", *revisions):
        try:
            commits.append(commit_hash(layout.root, revision))
        except GitError as error:
            if revision in revisions:
                raise HeadwayError(f"--rev {revision}: {error}; see `git log --all`") from None
    return commits


def _used(repo: Repo, commits: Sequence[str]) -> set[HashInfo]:
    """What the working folder and the commits need."""
    return {one for ids in repo.used_objs(revs=list(commits), num=1).values() for one in ids}


def _remove(layout: Layout, planned: frozenset[str], commits: Sequence[str]) -> None:
    """Remove the planned entries that are still unused; what came into the cache after the plan stays."""
    from dvc.repo import Repo
    from dvc_data.hashfile.gc import gc
    from dvc_data.hashfile.hash_info import HashInfo

    with Repo(str(layout.root)) as repo, repo.lock:
        current = [*commits, *_commits(layout, [])]
        used = _used(repo, list(dict.fromkeys(current)))
        for database in _databases(repo, layout)[0]:
            gc(database, used | {HashInfo(database.hash_name, one) for one in database.all() if one not in planned})


def _databases(repo: Repo, layout: Layout) -> tuple[list[Any], list[Any]]:
    """The local caches, today's and that of older DVC versions: those in the project's folder, and those outside.

    A cache outside, by ``dvc cache dir`` or a link, can serve several projects.
    """
    own = layout.root.resolve() / ".dvc" / "cache"
    found: dict[str, Any] = {}
    for scheme, database in repo.cache.by_scheme():
        if database and scheme in ("local", "legacy"):
            found[database.path] = database
    inside = [path for path in found if Path(path).resolve().is_relative_to(own)]
    return [found[path] for path in inside], [found[path] for path in found if path not in inside]
