"""The command that serves a model over HTTP."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.model import PANEL
from headway.cli.streams import say
from headway.errors import HeadwayError

if TYPE_CHECKING:
    from headway.data.preparation.label_map import LabelMap
    from headway.params import LogParams
    from headway.serving.http.server import Opened
    from headway.serving.http.settings import ServeSettings
    from headway.serving.http.tokens import Tokens

app = typer.Typer()
WILDCARDS = ("0.0.0.0", "::")


@app.command(rich_help_panel=PANEL)
def serve(
    model: Annotated[
        str, typer.Option(help="champion, challenger, the number of a version, or the folder of a package.")
    ] = "champion",
    model_name: Annotated[str, typer.Option(help="Registered model, outside of a project.")] = "",
    host: Annotated[str, typer.Option(help="Address; any but a loopback address needs tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    token_file: Annotated[str, typer.Option(help="File with the tokens that are accepted, one per line.")] = "",
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Name in the Host header, besides localhost; *.example.org, or * for any.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="Origin of another page whose scripts may ask: https://app.example.org.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Requests per second for each token; 0 for no limit.")] = 0.0,
    shadow: Annotated[str, typer.Option(help="Another model, as for --model, that scores the same texts for the log.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="Threads of PyTorch in each process; 0 for its share of cores.")] = 0,
    check_seconds: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks for another champion.")] = 15.0,
    log: Annotated[str, typer.Option(help="Folder or URL of the prediction log; by default as in params.yaml.")] = "",
    max_texts: Annotated[int, typer.Option(min=1, help="Texts in one request.")] = 256,
    max_characters: Annotated[int, typer.Option(min=1, help="Characters of one text.")] = 100_000,
    max_body: Annotated[int, typer.Option(min=1_000, help="Bytes of one request.")] = 8_000_000,
    queue: Annotated[int, typer.Option(min=1, help="Texts that may wait to be classified.")] = 2_048,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a request may take.")] = 30.0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds between SIGTERM and the end of accepting requests.")] = 2.0,
    tls_certificate: Annotated[str, typer.Option(help="PEM file with the certificate, for HTTPS.")] = "",
    tls_key: Annotated[str, typer.Option(help="PEM file with the certificate's key.")] = "",
) -> None:
    """Answer requests over HTTP with the champion, which is replaced without a pause when another one is promoted.

    /docs describes the requests. Tokens come from --token-file or from the environment variable HEADWAY_TOKENS, one per line.
    SIGTERM ends the service after its requests are answered; SIGHUP has it read the tokens again and look for another champion.
    In a terminal SIGHUP ends it, as for every program whose terminal is closed.
    """
    from headway.phrases import counted
    from headway.process import raise_on_termination
    from headway.serving.http.listener import address_of, bind
    from headway.serving.http.settings import LOOPBACK_NAMES, ServeSettings

    raise_on_termination()
    settings = ServeSettings(
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        tokens=_tokens(token_file),
        token_file=token_file,
        allowed_hosts=(*LOOPBACK_NAMES, *([] if host in WILDCARDS else [_in_header(host)]), *(allowed_host or [])),
        cors_origins=tuple(cors_origin or ()),
        rate=rate,
        max_texts=max_texts,
        max_characters=max_characters,
        max_body_bytes=max_body,
        queue_texts=queue,
        request_seconds=timeout,
        body_seconds=timeout,
        drain_seconds=drain,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
    )
    settings.check()
    listener = bind(settings)
    if host in WILDCARDS and not allowed_host:
        _warn("only requests to localhost are answered; name the hosts that clients use with --allowed-host")
    os.environ.setdefault("RAYON_NUM_THREADS", str(settings.torch_threads))  # of the tokenizers library

    def announce(version: str) -> None:
        tokens = counted(len(settings.tokens.digests), "token")
        needed = f"requests need one of {tokens}" if settings.tokens else "no token is needed"
        say(f"serving model version {version} at {address_of(settings, listener)}: {needed}")
        sys.stdout.flush()

    with listener:
        open_app = partial(open_service, model, model_name, shadow, check_seconds, log)
        if workers == 1:
            from headway.serving.http.server import serve as serve_here

            opened = open_app(settings)
            serve_here(opened, settings, listener, lambda: announce(opened.version))
        else:
            from headway.serving.http.workers import run_workers

            run_workers(open_app, settings, listener, announce)


def open_service(
    model: str, model_name: str, shadow: str, check_seconds: float, log: str, settings: ServeSettings
) -> Opened:
    """The application of one process, with its models loaded; HeadwayError if there is no model, or the log cannot be written."""
    from headway.registry.sources import open_source
    from headway.serving.http.app import create_app
    from headway.serving.http.server import Opened
    from headway.serving.http.settings import SECONDS_TO_FLUSH
    from headway.serving.live.live_model import LiveModel
    from headway.serving.log import PredictionLog

    models: list[LiveModel] = []
    log_params = _log_params(log)
    prediction_log = PredictionLog.open(log_params, "http") if log_params else None

    def close() -> None:
        for live in models:
            live.stop()
        if prediction_log:
            prediction_log.close(SECONDS_TO_FLUSH)

    try:
        for where in filter(None, (model, shadow)):
            live = LiveModel(open_source(where, model_name=model_name or None), check_seconds)
            live.start()
            models.append(live)
    except BaseException:
        close()
        raise
    add_labels = partial(_add_labels, log_params, _label_map()) if log_params else None
    read_monitoring = partial(_read_monitoring, log_params) if log_params else None
    app = create_app(models[0], settings, prediction_log, models[1] if shadow else None, add_labels, read_monitoring)
    return Opened(app, models[0].current.version, close)


def _log_params(folder: str) -> LogParams | None:
    """The settings of the prediction log, from the option and from the project, if there is one; None if there is no log."""
    from headway.layout import Layout
    from headway.params import LogParams, load
    from headway.serving.log.store import located

    try:
        layout = Layout.find()
    except HeadwayError:  # outside of a project
        return LogParams(folder=folder, texts="none", keep_days=0) if folder else None
    log = load(layout.params).serving.log
    chosen = log.model_copy(update={"folder": os.path.abspath(folder) if "://" not in folder else folder}) if folder else log
    return located(chosen, layout.root) if chosen.folder else None


def _label_map() -> LabelMap:
    """The project's ``data.label_map``; an empty one outside of a project."""
    from headway.data.preparation.label_map import LabelMap
    from headway.layout import Layout
    from headway.params import load

    try:
        layout = Layout.find()
    except HeadwayError:
        return LabelMap({})
    return LabelMap(load(layout.params).data.label_map)


def _add_labels(params: LogParams, label_map: LabelMap, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Keep the labels of a request beside the log; their numbers by what became of them."""
    from headway.serving.log.feedback import LabelRow, add_labels, with_map

    labels = [LabelRow(row["label"], row.get("request_id", ""), row.get("text_hash", ""), row.get("text")) for row in rows]
    found = add_labels(params, [with_map(row, label_map) for row in labels], "http")
    names = ("rows", "added", "repeated", "quarantined", "new_classes")
    return {name: getattr(found, name) for name in names}


def _read_monitoring(params: LogParams) -> dict[str, Any] | None:
    """What monitoring last found about the answers in this log, None if it has not looked yet."""
    from headway.monitoring.record import MonitoringRecord
    from headway.serving.log.store import MONITOR_FOLDER, MONITOR_RECORD
    from headway.serving.log.writer import open_log

    content = open_log(params).below(MONITOR_FOLDER).read_file(MONITOR_RECORD)
    if content is None:
        return None
    record = MonitoringRecord.model_validate_json(content)
    shown = ("status", "reasons", "version", "answers", "last_day", "estimated", "realised")
    return {**record.model_dump(mode="json", include=set(shown)), "expected": record.expected}


def _tokens(file: str) -> Tokens:
    """The tokens of the file, else those of the environment, else none."""
    from headway.serving.http.tokens import NOBODY, VARIABLE, others_can_read, read_token_file, read_tokens

    if file:
        found = read_token_file(Path(file))
        if others_can_read(Path(file)):
            _warn(f"{file}: other users of this machine can read it; run `chmod 600 {file}`")
        return found
    return read_tokens(os.environ[VARIABLE], VARIABLE) if VARIABLE in os.environ else NOBODY


def _in_header(host: str) -> str:
    """An address as it is in a Host header."""
    return f"[{host}]" if ":" in host else host


def _warn(message: str) -> None:
    print(f"headway: {message}", file=sys.stderr)
