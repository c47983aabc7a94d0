"""What MLflow's pages show of a project beside its numbers: names, descriptions, and its own tags for source, commit and user.

Needs no MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

from headway.errors import redact_credentials
from headway.files import read_json
from headway.foreign_text import markdown, one_line
from headway.layout import Layout
from headway.lineage import CHANGED
from headway.params import Params
from headway.phrases import listed
from headway.process import user_name

NOTE = "mlflow.note.content"
#: Selects the pages that MLflow shows of an experiment. Without it, those for generative AI open.
EXPERIMENT_KIND = "mlflow.experimentKind"
MODEL_TRAINING = "custom_model_development"
#: What an address of MLflow's pages ends with, since version 3.17 chooses the view by it or by the browser's last choice.
VIEW = "?workflowType=machine_learning"
#: Ending of a kind that MLflow's pages guessed, and no person chose.
INFERRED = "_inferred"
#: The file or command that a run comes from, by kind of run.
SOURCES = {"pipeline": "dvc.yaml", "training": "headway train", "trial": "headway tune"}
#: The metric in a run's name, by kind of run.
SCORES = {"pipeline": "test_accuracy", "training": "joint_validation_accuracy", "trial": "score"}
RUN_NOTES = {
    "pipeline": "One execution of the pipeline. Nested in it are the trials of the search and the training. The test metrics and "
    "the decision are added once the candidate has been compared.",
    "training": "Training with the best hyperparameters of the search. Metrics that begin with `joint_` are of the whole "
    "classifier on the validation split; the curves are of its attention part.",
    "trial": "One trial of the hyperparameter search. `score` is the objective on the validation split.",
}
PACKAGE_NOTE = (
    "The model package of a training, which MLflow can serve. Metrics that begin with `joint_` are on the validation split, "
    "those that begin with `test_` on the test split."
)
MAX_NAME, MAX_LABELS = 60, 20


def data_name(params: Params) -> str:
    """A short name of the project's data: the subset, the name on the hub, or the file's or folder's name without its ending."""
    data = params.data
    if data.source == "package":
        return data.subset
    name = data.hub_name if data.source == "hub" else PurePosixPath(redact_credentials(data.path)).stem
    return one_line(name or data.source)[:MAX_NAME]


def run_name(kind: str, name: str, params: Params) -> str:
    """The name of a run before its score is known, such as ``train · imdb`` or ``tune · imdb · trial 3``."""
    return f"tune · {data_name(params)} · {name}" if kind == "trial" else f"{name} · {data_name(params)}"


def provenance(kind: str, lineage: Mapping[str, str]) -> dict[str, str]:
    """MLflow's tags for source, git commit and user.

    Args:
        kind: of the run that something comes from.
        lineage: as tags, see :meth:`headway.lineage.Lineage.as_tags`.
    """
    source = {"mlflow.source.name": SOURCES[kind], "mlflow.source.type": "LOCAL"}
    return {**source, "mlflow.user": user_name(), **commit_tags(lineage)}


def commit_tags(lineage: Mapping[str, str]) -> dict[str, str]:
    """MLflow's tags for the git commit in a lineage; none without a commit."""
    commit = lineage.get("headway.git_commit", "")
    if not commit:
        return {}
    dirty = str(commit.endswith(CHANGED)).lower()
    return {"mlflow.source.git.commit": commit.removesuffix(CHANGED), "mlflow.source.git.dirty": dirty}


def version_path(model: str, version: str = "") -> str:
    """The part of a registered model's address after that of MLflow's pages, or of a version's."""
    return f"#/models/{quote(model)}" + (f"/versions/{version}" if version else "") + VIEW


def experiment_tags(params: Params) -> dict[str, str]:
    """Tags of the project's experiment: the pages to show, and a description."""
    note = (
        f"A text classifier for **{markdown(data_name(params))}**, trained and promoted by Headway.\n\n"
        "- **pipeline** runs are executions of `dvc.yaml`, with the test metrics of the candidate (`test_…`), the linear "
        "baseline (`baseline_test_…`) and the champion (`champion_test_…`), and the decision as description.\n"
        "- **tune** and **train** runs are nested in them: the trials of the search, and the training.\n\n"
        f"Versions and the champion: [{params.registry.model_name}]({version_path(params.registry.model_name)})."
    )
    return {EXPERIMENT_KIND: MODEL_TRAINING, NOTE: note}


def history_tags(params: Params) -> dict[str, str]:
    """Tags of the experiment that holds the history of decisions."""
    note = (
        f"The history of the registered model **{params.registry.model_name}**: one record for each decision. Headway keeps it "
        "here and needs it; do not delete it. To read it, run `headway history`."
    )
    return {EXPERIMENT_KIND: MODEL_TRAINING, NOTE: note}


def model_description(params: Params, layout: Layout) -> str:
    """The description of the registered model."""
    file = layout.prepared / "labels.json"
    labels = [markdown(label) for label in read_json(file, made_by="prepare")] if file.is_file() else []
    classes = f" Labels: {listed(labels, MAX_LABELS)}." if labels else ""
    use = params.registry.intended_use.strip()
    return (
        f"Text classifier for **{markdown(data_name(params))}**, trained and promoted by Headway.{classes}\n\n"
        "`champion` is the version in use, `challenger` the newest candidate, or the one that waits for "
        "approval. Every version's description is the decision on it."
        + (f"\n\n**Intended use:** {markdown(use)}" if use else "")
    )
