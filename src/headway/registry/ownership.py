"""Which project a registered model on a shared MLflow server belongs to.

Projects have the same names for experiment and model by default. The project that registers first is recorded with the model, and
another project is refused before it registers or decides anything. A clone, a moved project, a CI job or a container of the same
project is recognised, also after its data changed.
"""

from __future__ import annotations

import hashlib

from mlflow.entities.model_registry import RegisteredModel
from pydantic import BaseModel, ConfigDict, ValidationError

from headway.errors import HeadwayError
from headway.files import read_json
from headway.git import GitError, git
from headway.layout import Layout
from headway.params import Params
from headway.tracking import Tracker, reachable

#: Tag of a registered model: its project, as JSON.
OWNER_TAG = "headway.project"
MAX_ROOTS, MAX_LABELS, MAX_CHARACTERS = 5, 20, 40


class Identity(BaseModel):
    """What a project is recognised by.

    Attributes:
        id: ``registry.project_id`` of params.yaml, "" if it is not set.
        roots: hashes of the first commits of its git repository with the project's folder in it; none without a full history.
        source: kind and name of its data, such as ``package:imdb``, without paths.
        labels: names of classes, at most :data:`MAX_LABELS`; none before ingestion.
    """

    model_config = ConfigDict(frozen=True)

    id: str = ""
    roots: tuple[str, ...] = ()
    source: str = ""
    labels: tuple[str, ...] = ()

    def is_same(self, other: Identity) -> bool:
        """Whether both are one project: by id if both have one, else by git history, else by data.

        If one alone has an id, its source has to be the other's too: every clone of one template has the same first commit, and
        gets its id when it is set up for data of its own.
        """
        if self.id and other.id:
            return self.id == other.id
        if (self.id or other.id) and self.source != other.source:
            return False
        if self.labels and other.labels and not set(self.labels) & set(other.labels):
            return False
        if self.roots and other.roots:
            return bool(set(self.roots) & set(other.roots))
        return self.source == other.source

    def updated(self, present: Identity) -> Identity:
        """This identity with what the same project looks like now; what is unknown now is kept."""
        return Identity(
            id=present.id or self.id,
            roots=tuple(sorted({*self.roots, *present.roots}))[:MAX_ROOTS],
            source=present.source,
            labels=present.labels or self.labels,
        )

    @property
    def key(self) -> str:
        """The id that another project sets to say that it is this one."""
        return self.id or "p" + hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


def identify(params: Params, layout: Layout) -> Identity:
    """The identity of a project as it is now."""
    data = params.data
    manifest = layout.raw / "manifest.json"
    labels = read_json(manifest, made_by="ingest")["label_counts"] if manifest.is_file() else ()
    shown = {str(label)[:MAX_CHARACTERS] for label in labels}
    # Of many labels the same ones are kept, whichever are added.
    kept = sorted(shown, key=lambda label: hashlib.sha256(label.encode(errors="replace")).hexdigest())[:MAX_LABELS]
    name = {"package": data.subset, "hub": data.hub_name}.get(data.source, "")
    return Identity(
        id=params.registry.project_id,
        roots=_roots(layout),
        source=f"{data.source}:{name}" if name else data.source,
        labels=tuple(sorted(kept)),
    )


def require_own(model: RegisteredModel | None, tracker: Tracker) -> None:
    """Refuse a registered model on a shared server that belongs to another project.

    Raises:
        HeadwayError: it does; the message says how to choose other names, or how to say that both are one project.
    """
    owner = _owner(model)
    if owner is None or tracker.own:
        return
    present = identify(tracker.params, tracker.layout)
    if owner.is_same(present) or owner.key == present.id:
        return
    labels = f", labels {', '.join(owner.labels[:5])}" if owner.labels else ""
    raise HeadwayError(
        f"the registered model {tracker.params.registry.model_name} on this MLflow server belongs to another project "
        f"(data {owner.source}{labels}); choose other names for registry.model_name and registry.experiment in params.yaml, "
        f"or, if this is the same project, set registry.project_id to {owner.key}"
    )


def claim(model: RegisteredModel, tracker: Tracker) -> None:
    """Record the project with its registered model on a shared server, and keep the record up to date.

    Raises:
        HeadwayError: the model belongs to another project.
    """
    require_own(model, tracker)
    owner, present = _owner(model), identify(tracker.params, tracker.layout)
    record = owner.updated(present) if owner else present
    if record != owner and not tracker.own:
        with reachable(tracker.uri):
            tracker.client.set_registered_model_tag(model.name, OWNER_TAG, record.model_dump_json())


def creation_tags(tracker: Tracker) -> dict[str, str]:
    """Tags for a new registered model: of two projects that create it at the same time, one gets it."""
    return {} if tracker.own else {OWNER_TAG: identify(tracker.params, tracker.layout).model_dump_json()}


def _owner(model: RegisteredModel | None) -> Identity | None:
    """The recorded project; None if there is no record."""
    text = model.tags.get(OWNER_TAG) if model is not None else None
    try:
        return Identity.model_validate_json(text) if text else None
    except ValidationError:
        return None


def _roots(layout: Layout) -> tuple[str, ...]:
    """First commits of the project's repository, each with the project's folder in it; () without git or a full history."""
    try:
        if git(layout.root, "rev-parse", "--is-shallow-repository") != "false":
            return ()
        folder = git(layout.root, "rev-parse", "--show-prefix")
        commits = git(layout.root, "rev-list", "--max-parents=0", "HEAD").split()
    except GitError:
        return ()
    return tuple(sorted(f"{commit}:{folder}" for commit in commits))[:MAX_ROOTS]
