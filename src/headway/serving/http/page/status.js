// The page at /status: asks the service for its status, shows it, and asks again while somebody looks.

const SECONDS_BETWEEN_LOOKS = 10;

// A time of the service in words of this browser's clock; "" without one.
const when = (text) => (text ? new Date(text).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" }) : "");
const percent = (value) => `${(100 * value).toFixed(1)}%`;

// Show names with values; a row without a value is left out.
function list(where, rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  where.replaceChildren(...shown.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
}

function complain(where, message) {
  where.hidden = !message;
  where.textContent = message ? sentence(message) : "";
}

function showMonitoring(found, version) {
  const verdicts = { ok: "OK: nothing has been shown to differ", warning: "Warning: something has changed", alarm: "Alarm: a loss of accuracy is shown" };
  const current = found && found.version === version;
  $("verdict").textContent = current ? `${verdicts[found.status] || found.status}.` : found ? `Not yet for version ${version}; version ${found.version} was last monitored.` : "Not monitored yet, or this service keeps no prediction log.";
  $("verdict").className = current && found.status === "alarm" ? "answer failed" : "answer";
  $("reasons").replaceChildren(...(current ? found.reasons : []).map((reason) => element("li", {}, reason)));
  $("reasons").hidden = !$("reasons").children.length;
  const accuracy = (one) => (one ? `${percent(one.value)} (${percent(one.low)} to ${percent(one.high)}; ${counted(one.rows, "answer")})` : null);
  list($("monitoring"), current ? [
    ["answers watched", `${count(found.answers)}${found.last_day ? `, to ${found.last_day}` : ""}`],
    ["accuracy promised", percent(found.expected)],
    ["accuracy estimated without labels", accuracy(found.estimated)],
    ["accuracy of labelled answers", accuracy(found.realised)],
  ] : []);
}

function showStatus(status) {
  const { model, serving, requests, log } = status;
  document.title = `${model.name}: status`;
  $("model-name").textContent = model.name;
  $("model-facts").textContent = `Version ${model.version}${serving.ready ? "" : " · not ready"}`;
  $("model-decision").textContent = model.decision ? sentence(model.decision) : "";
  complain($("problem"), serving.problem);
  showMonitoring(status.monitoring, model.version);
  list($("requests"), [
    ["answered", count(requests.answered)],
    ["refused", count(requests.refused)],
    ["failed", count(requests.failed)],
    ["texts classified", count(requests.texts)],
    ["texts that could not be classified", count(requests.texts_not_classified)],
  ]);
  list($("serving"), [
    ["registered", when(model.registered_at)],
    ["answers since", when(serving.answers_since)],
    ["last look for another one", when(serving.checked_at)],
    ["swaps", count(serving.swaps)],
    ["failures to load another one", count(serving.failures)],
    ["shadow", serving.shadow && `version ${serving.shadow}`],
    ["process started", when(serving.started_at)],
  ]);
  complain($("log-problem"), log && log.problem);
  list($("log"), log ? [
    ["rows written", count(log.rows_written)],
    ["rows waiting", count(log.rows_waiting)],
    ["rows lost", count(log.rows_dropped)],
    ["failed writes", count(log.failed_writes)],
  ] : [["answers", "not kept; set serving.log.folder in params.yaml"]]);
  $("known").hidden = false;
  $("updated").textContent = `As of ${when(status.now)}.`;
}

async function look() {
  try {
    showStatus(await ask("status"));
  } catch (error) {
    complain($("problem"), error.message);
  }
}

look();
setInterval(() => { if (!document.hidden && !tokenGiven) look(); }, 1000 * SECONDS_BETWEEN_LOOKS);
