"""Who owns a registered model on a shared server: one project in all its copies, and no other."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from headway.errors import HeadwayError
from headway.files import write_json
from headway.layout import Layout
from headway.params import load
from headway.promotion.champion import commit, reconcile
from headway.promotion.decision import REFUSAL
from headway.registry.ownership import OWNER_TAG, Identity, claim, identify
from headway.registry.registry import Registry
from headway.tracking import URI_VARIABLE, Tracker
from tests.conftest import new_project
from tests.promotion.conftest import decision_content, ref

REVIEWS = Identity(id="", roots=("a:",), source="file", labels=("negative", "positive"))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (REVIEWS, True),
        (REVIEWS.model_copy(update={"labels": ("negative", "neutral", "positive")}), True),
        (REVIEWS.model_copy(update={"labels": ()}), True),  # before ingestion
        (REVIEWS.model_copy(update={"source": "hub:reviews"}), True),  # other data in the same repository
        (REVIEWS.model_copy(update={"roots": ()}), True),  # no git, as in a container
        (REVIEWS.model_copy(update={"roots": (), "source": "package:imdb"}), False),
        (REVIEWS.model_copy(update={"roots": ("b:",)}), False),
        (REVIEWS.model_copy(update={"roots": ("a:tickets/",)}), False),  # another folder of one repository
        (REVIEWS.model_copy(update={"labels": ("billing", "shipping")}), False),  # another clone of one template
        (REVIEWS.model_copy(update={"id": "p1"}), True),  # `headway init` on the same data
        (REVIEWS.model_copy(update={"id": "p1", "labels": ("neutral", "positive")}), True),  # … and on newer data
        (REVIEWS.model_copy(update={"id": "p1", "source": "package:imdb"}), False),  # a clone of one template, set up
    ],
)
def test_without_ids_a_project_is_known_by_its_history_and_data(other: Identity, same: bool) -> None:
    assert REVIEWS.is_same(other) is same
    assert other.is_same(REVIEWS) is same


def test_ids_decide_if_both_projects_have_one() -> None:
    one = REVIEWS.model_copy(update={"id": "p1"})
    assert not one.is_same(REVIEWS.model_copy(update={"id": "p2"}))
    assert one.is_same(Identity(id="p1", roots=("b:",), source="package:imdb", labels=("billing",)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database to copy: that of a server for several projects."""
    file = tmp_path_factory.mktemp("server") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URI_VARIABLE, f"sqlite:///{file}")
        layout = new_project(file.parent / "project")
        Tracker(load(layout.params), layout)
    return file


@pytest.fixture
def shared(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_TRACKING_URI names a server without registered models."""
    shutil.copyfile(server, tmp_path / "mlflow.db")
    monkeypatch.setenv(URI_VARIABLE, f"sqlite:///{tmp_path / 'mlflow.db'}")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True, capture_output=True)


def project(root: Path, labels: tuple[str, ...] = ("negative", "positive"), **knobs: str) -> Layout:
    """A new repository with a project that has ingested rows with these labels."""
    layout = new_project(root)
    git(root, "init")
    git(root, "add", "params.yaml")
    git(root, "commit", "--message", f"The first commit of {root.name}")
    return prepare(layout, labels, **knobs)


def prepare(layout: Layout, labels: tuple[str, ...] = ("negative", "positive"), **knobs: str) -> Layout:
    """Set knobs as a person does, and ingest rows with these labels."""
    text = layout.params.read_text()
    for name, value in knobs.items():
        line, *_ = [line for line in text.splitlines() if line.startswith(f"  {name}:")]
        text = text.replace(line, f"  {name}: {value}")
    layout.params.write_text(text)
    write_json(layout.raw / "manifest.json", {"label_counts": dict.fromkeys(labels, 10), "rows_sha256": "0" * 64})
    return layout


def registry(layout: Layout) -> Registry:
    return Registry(Tracker(load(layout.params), layout))


@pytest.mark.usefixtures("shared")
def test_a_second_project_is_refused_before_anything_is_registered(tmp_path: Path) -> None:
    first = registry(project(tmp_path / "first"))
    first.log.create()
    commit(first, reconcile(first), **decision_content(ref(1), None, REFUSAL))
    before = first.log.model()
    second = registry(project(tmp_path / "second"))
    for act in (
        second.require_own,
        lambda: second.register(tmp_path / "a package", "a run", {}),
        lambda: commit(second, reconcile(second), **decision_content(ref(2), None, REFUSAL)),
    ):
        with pytest.raises(
            HeadwayError, match=r"belongs to another project \(data package:imdb, labels negative, positive\)"
        ):
            act()
    after = first.log.model()
    assert before is not None
    assert after is not None
    assert (after.tags, after.aliases) == (before.tags, before.aliases)
    assert first.log.entries().last


@pytest.mark.usefixtures("shared")
def test_a_second_project_can_say_that_it_is_the_same_or_choose_another_name(tmp_path: Path) -> None:
    first, other = registry(project(tmp_path / "first")), project(tmp_path / "second")
    first.log.create()
    with pytest.raises(HeadwayError) as refusal:
        registry(other).require_own()
    prepare(other, project_id=str(refusal.value).split()[-1])
    registry(other).require_own()
    first.require_own()
    registry(project(tmp_path / "third", model_name="third")).require_own()


@pytest.mark.usefixtures("shared")
def test_every_copy_of_a_project_is_the_same_project(tmp_path: Path) -> None:
    layout = project(tmp_path / "project")
    registry(layout).log.create()
    git(tmp_path, "clone", str(layout.root), str(tmp_path / "clone"))
    git(tmp_path, "clone", "--depth", "1", f"file://{layout.root}", str(tmp_path / "shallow"))
    shutil.copytree(layout.root, tmp_path / "container", ignore=shutil.ignore_patterns(".git"))
    for name in ("clone", "shallow", "container"):
        root = tmp_path / name
        shutil.copyfile(layout.graph, root / "dvc.yaml")
        registry(Layout(root)).require_own()  # before it has ingested anything
        registry(prepare(Layout(root))).require_own()
    layout.root.rename(tmp_path / "moved")
    registry(Layout(tmp_path / "moved")).require_own()


@pytest.mark.usefixtures("shared")
def test_a_clone_that_was_set_up_for_its_own_data_does_not_take_the_model_over(tmp_path: Path) -> None:
    layout = project(tmp_path / "project")
    first = registry(layout)
    before = first.log.create().tags
    git(tmp_path, "clone", str(layout.root), str(tmp_path / "clone"))
    clone = Layout(tmp_path / "clone")
    shutil.copyfile(layout.graph, clone.graph)
    prepare(clone, ("negative", "neutral", "positive"), source="file", path="data/input/mine.csv", project_id="p2")
    second = registry(clone)
    with pytest.raises(HeadwayError, match="belongs to another project"):
        claim(second.log.create(), second.tracker)
    after = first.log.model()
    assert after is not None
    assert after.tags == before
    first.require_own()


@pytest.mark.usefixtures("shared")
def test_new_data_do_not_make_another_project(tmp_path: Path) -> None:
    layout = project(tmp_path / "project")
    first = registry(layout)
    first.log.create()
    for labels, knobs in (
        (("negative", "neutral", "positive"), {"source": "file", "path": "data/input/june.csv"}),
        (("neutral", "positive"), {"path": "data/input/july.csv"}),
    ):
        later = registry(prepare(layout, labels, **knobs))
        later.require_own()
        claim(later.log.create(), later.tracker)
    model = first.log.model()
    assert model is not None
    assert Identity.model_validate_json(model.tags[OWNER_TAG]).labels == ("neutral", "positive")


def test_in_its_own_database_a_project_owns_every_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    layout = project(tmp_path / "project")
    registry(layout).log.create()
    registry(prepare(layout, ("billing", "shipping"), project_id="other")).require_own()


def test_many_long_labels_fit_into_a_tag_and_the_same_ones_are_kept(tmp_path: Path) -> None:
    labels = tuple(f"class {number} {'x' * 200}" for number in range(3000))
    layout = project(tmp_path / "project", labels)
    identity = identify(load(layout.params), layout)
    assert len(identity.model_dump_json()) < 5000
    assert identity.is_same(identify(load(layout.params), prepare(layout, labels[:2900])))
