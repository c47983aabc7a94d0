"""The web application: its routes, and how its errors become JSON."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, Response

from headway.serving.http import bodies
from headway.serving.http.admission import Admission
from headway.serving.http.api_page import api_page
from headway.serving.http.envelope import CLIENT_GONE, Envelope
from headway.serving.http.explanations import as_json
from headway.serving.http.interfaces import AddLabels, LiveModel, PredictionLog, ReadMonitoring
from headway.serving.http.metrics import CONTENT_TYPE
from headway.serving.http.page import page, status_page
from headway.serving.http.refusals import Refusal, json_response
from headway.serving.http.service import ClientGone, Service
from headway.serving.http.settings import ServeSettings
from headway.serving.http.status import PATH, prefers_page, report
from headway.serving.live.model import ServedModel

SUMMARY = "Classifies texts with the model that is champion now. An error is a JSON object with a code and a message."
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": bodies.ErrorResponse, "description": "The body is not JSON."},
    401: {"model": bodies.ErrorResponse, "description": "A valid token is needed."},
    403: {"model": bodies.ErrorResponse, "description": "The Host or Origin header is not allowed."},
    408: {"model": bodies.ErrorResponse, "description": "The body did not arrive in time."},
    413: {"model": bodies.ErrorResponse, "description": "The body is too large."},
    415: {"model": bodies.ErrorResponse, "description": "The body is sent as another type than JSON."},
    422: {"model": bodies.ErrorResponse, "description": "The JSON is not what was expected, or is beyond a limit."},
    429: {"model": bodies.ErrorResponse, "description": "Too many requests. Retry-After says in how many seconds to retry."},
    500: {"model": bodies.ErrorResponse, "description": "The model or the service failed."},
    503: {"model": bodies.ErrorResponse, "description": "No answer in time."},
}
EXPLAIN_ERRORS: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    501: {"model": bodies.ErrorResponse, "description": "Explanations need the package captum on the server."},
}
FEEDBACK_ERRORS: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    404: {"model": bodies.ErrorResponse, "description": "The service keeps no prediction log."},
    503: {"model": bodies.ErrorResponse, "description": "The labels could not be kept, or not in time."},
}
CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}
#: Names of fields in messages; a name that the client made up is not repeated.
FIELDS = {
    name
    for model in (bodies.PredictRequest, bodies.ExplainRequest, bodies.FeedbackRequest, bodies.Label)
    for name in model.model_fields
}


def create_app(
    live: LiveModel,
    settings: ServeSettings,
    log: PredictionLog | None = None,
    shadow: LiveModel | None = None,
    add_labels: AddLabels | None = None,
    read_monitoring: ReadMonitoring | None = None,
) -> FastAPI:
    """The application around models that have been loaded, and that the caller stops when it has ended.

    Args:
        log: where answers are kept.
        shadow: another model that scores the same texts, for the log and the metrics.
        add_labels: keeps the labels of ``POST /feedback``.
        read_monitoring: reads what monitoring last found, for ``/status``.
    """
    service = Service(live, settings, log, shadow, add_labels, read_monitoring)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Headway",
        description=SUMMARY,
        version=version("headway"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={
            Refusal: _refused,
            ClientGone: _client_gone,
            HTTPException: _http_error,
            RequestValidationError: _invalid,
        },
    )
    app.state.service = service
    app.add_middleware(Admission, settings=settings, access=service.access, metrics=service.metrics)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    app.add_middleware(Envelope, metrics=service.metrics)
    _add_questions(app, service)
    _add_state(app, service)
    _add_pages(app)
    return app


def _add_questions(app: FastAPI, service: Service) -> None:
    """The routes that ask the model, or tell the service what was right."""

    @app.post("/predict", response_model=bodies.PredictResponse, responses=ERRORS)
    async def predict(body: bodies.PredictRequest, request: Request) -> Response:
        """Classify one or many texts."""
        texts, request_id = body.values, request.state.request_id
        service.check(texts, "text" if body.texts is None else "texts[{}]", body.top_k)
        made = [request_id] if body.texts is None else [f"{request_id}-{number}" for number in range(len(texts))]
        ids = body.ids or made
        answer = await service.wait(request, service.batcher.submit(texts))
        service.keep(answer, ids, texts)
        found = bodies.predictions(answer, ids, body.top_k)
        return json_response({"model": _model(answer.model), "request_id": request_id, "predictions": found})

    @app.post("/explain", response_model=bodies.ExplainResponse, responses=EXPLAIN_ERRORS)
    async def explain(body: bodies.ExplainRequest, request: Request) -> Response:
        """Explain the prediction for one text: what each part of the model, each n-gram and each token adds to it."""
        service.check([body.text], "text")
        model = service.live.current
        explanation = await service.wait(request, service.explainer.explain(model, body.text))
        found = bodies.prediction(
            explanation.probabilities, explanation.classes, request.state.request_id, len(explanation.classes)
        )
        return json_response({"model": _model(model), "prediction": found, "explanation": as_json(explanation)})

    @app.post("/feedback", responses=FEEDBACK_ERRORS)
    async def feedback(body: bodies.FeedbackRequest, request: Request) -> dict[str, Any]:
        """Keep true labels that are known by now, beside the prediction log; counts by what became of them."""
        rows = [label.model_dump(exclude_none=True) for label in body.labels]
        kept = await service.wait(request, service.submit_labels(rows))
        return dict(kept)


def _add_state(app: FastAPI, service: Service) -> None:
    """The routes that say how the service is."""

    @app.get("/model", responses={401: ERRORS[401]})
    async def model() -> Response:
        """The model that answers now, and what is known of it."""
        found = service.live.current
        own = {**_model(found), "fingerprint": found.fingerprint, "classes": found.package.classes}
        return json_response({**own, **{name: value for name, value in found.about.items() if name not in own}})

    started = datetime.now(UTC)

    @app.get(PATH, responses={401: ERRORS[401]})
    async def status(request: Request) -> Response:
        """The champion, requests, the prediction log and what monitoring last found: JSON, or a page for a browser."""
        if prefers_page(request.headers.get("accept", "")):
            answer = html_response(status_page())
        else:
            answer = json_response(report(service, started))
        answer.headers["Vary"] = "Accept"
        return answer

    @app.get("/livez")
    async def livez() -> Response:
        """Whether the process works; if not, it has to be started again."""
        return json_response({"alive": service.alive}, 200 if service.alive else 503)

    @app.get("/readyz")
    async def readyz(request: Request) -> Response:
        """Whether requests should be sent here; 503 while the process ends."""
        state = service.state(request.headers.get("authorization", ""), request.headers.get("host", ""))
        return json_response(state, 200 if state["ready"] else 503)

    @app.get("/metrics", responses={401: ERRORS[401]})
    async def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        service.refresh_metrics()
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)


def _add_pages(app: FastAPI) -> None:
    """The routes for people in a browser."""
    document = page()
    about: list[str] = []  # the page at /docs, once it was asked for

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return html_response(document)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        if not about:
            about.append(api_page(app.openapi()))
        return html_response(about[0])


def _model(model: ServedModel) -> dict[str, str]:
    return {"name": model.name, "version": model.version}


def html_response(document: str) -> Response:
    """An HTML page that may run its own script and use its own style, and load nothing from anywhere else."""
    policy = [
        "default-src 'none'; connect-src 'self'",
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ]
    for name in ("script", "style"):
        found = re.findall(rf"<{name}[^>]*>(.*?)</{name}>", document, re.DOTALL)
        hashes = [f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'" for part in found]
        policy.append(" ".join([f"{name}-src", *(hashes or ["'none'"])]))
    return HTMLResponse(document, headers={"Content-Security-Policy": "; ".join(policy)})


# Errors


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    request.app.state.service.metrics.rejected.labels(error.code).inc()
    return error.response()


async def _client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _http_error(_request: Request, error: Exception) -> Response:
    """An unknown path, a wrong method, or JSON that cannot be parsed at all."""
    assert isinstance(error, HTTPException)
    messages = {404: "there is nothing at this path; see /docs", 405: "this path has another method; see /docs"}
    message = messages.get(error.status_code, "the body is not JSON that can be read")
    return Refusal(error.status_code, CODES.get(error.status_code, "error"), message, error.headers).response()


async def _invalid(request: Request, error: Exception) -> Response:
    """The first thing that is wrong with a body, without its content."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return await _refused(request, Refusal(400, "not_json", "the body is not JSON"))
    where = ".".join(str(part) if isinstance(part, int) or part in FIELDS else "…" for part in first["loc"][1:])
    message = first["msg"].removeprefix("Value error, ")
    return await _refused(request, Refusal(422, "invalid", f"{where}: {message}" if where else message))
