// The form for a CSV file: sends its texts in batches, and offers the file with labels for download.

// Texts and characters of one request.
const BATCH_TEXTS = 64, BATCH_CHARACTERS = 200000;
const SHOWN_PROBLEMS = 200, SHOWN_COUNTS = 100;
const ADDED = ["label", "probability", "model_version", "reason"], PREFIX = "predicted_";
// Usual names of a column with texts.
const TEXT_NAMES = ["text", "texts", "review", "comment", "message", "content", "sentence", "body", "description", "tweet", "question"];

let table = null;  // the file that was chosen
let job = null;  // the rows that are being labelled

const drop = $("drop");
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
});
$("file").addEventListener("change", () => {
  if ($("file").files.length) choose($("file").files[0]);
});
$("has-header").addEventListener("change", describe);
$("column").addEventListener("change", showFirstText);
$("stop").addEventListener("click", () => {
  job.stopped = true;
  job.wake();
});

async function choose(file) {
  if (job && job.running) {
    say($("table-status"), "Stop the rows that are being labelled first.", true);
    return;
  }
  job = table = null;
  for (const id of ["table-options", "table-progress", "table-result"]) $(id).hidden = true;
  say($("table-status"), "");
  let read;
  try {
    read = decode(await file.arrayBuffer());
  } catch {
    say($("table-status"), `${file.name} cannot be read.`, true);
    return;
  }
  const delimiter = delimiterOf(read.text), rows = parseCsv(read.text, delimiter);
  if (!rows.length) {
    say($("table-status"), `${file.name} is empty; expected a CSV file with a column of texts.`, true);
    return;
  }
  table = { name: file.name, delimiter, rows, encoding: read.encoding };
  $("has-header").checked = true;
  $("column").disabled = $("has-header").disabled = false;
  $("table-options").hidden = false;
  describe();
}

// Names of the columns: the first line, or numbers. A name that is missing, or there twice, gets the column's number.
function columnNames() {
  const first = table.rows[0], names = [];
  for (let index = 0; index < first.length; index += 1) {
    const name = $("has-header").checked ? first[index] : "";
    names.push(name.trim() && !names.includes(name) ? name : `column_${index + 1}`);
  }
  return names;
}

const dataRows = () => ($("has-header").checked ? table.rows.slice(1) : table.rows);

function describe() {
  const names = columnNames(), rows = dataRows();
  const encoding = table.encoding === "Windows-1252" ? " It is not UTF-8 and was read as Windows-1252: save it as UTF-8 if letters look wrong." : "";
  $("file-facts").replaceChildren(element("bdi", {}, table.name), `: ${counted(rows.length, "row")} with ${counted(names.length, "column")}.${encoding}`);
  $("column").replaceChildren(...names.map((name, index) => element("option", { value: index }, name)));
  $("column").value = likelyColumn(names, rows);
  $("start").disabled = !rows.length;
  $("start").textContent = `Label ${counted(rows.length, "row")}`;
  showFirstText();
}

// The column with a usual name, or else the one with the longest values.
function likelyColumn(names, rows) {
  const usual = names.findIndex((name) => TEXT_NAMES.includes(name.trim().toLowerCase()));
  if (usual >= 0) return usual;
  const lengths = names.map((_, index) => rows.slice(0, 200).reduce((sum, row) => sum + (row[index] || "").length, 0));
  return lengths.indexOf(Math.max(...lengths));
}

function showFirstText() {
  const first = (dataRows()[0] || [])[$("column").value] || "";
  $("first-text").replaceChildren("First text: ", element("bdi", {}, first.length > 120 ? first.slice(0, 120) + "…" : first || "(empty)"));
}

$("table-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!table || (job && job.running)) return;
  if (!job || job.done === job.rows.length) job = newJob();
  if (!job) return;
  job.running = true;
  job.stopped = false;
  setRunning(true);
  try {
    await labelRows(job);
    say($("table-status"), job.done === job.rows.length ? `Done: ${summary(job)}.` : `Stopped: ${summary(job)}.`);
  } catch (error) {
    say($("table-status"), `${error.message} So far: ${summary(job)}. The button above continues.`, true);
  }
  job.running = false;
  setRunning(false);
  showResult(job);
});

function newJob() {
  const names = columnNames(), rows = dataRows(), width = names.length;
  const taken = ADDED.map((name) => (names.includes(name) ? PREFIX + name : name));
  const clash = taken.find((name, index) => name !== ADDED[index] && names.includes(name));
  if (clash) {
    say($("table-status"), `The file has the columns ${clash.slice(PREFIX.length)} and ${clash} already; rename one of them.`, true);
    return null;
  }
  return { name: table.name, delimiter: table.delimiter, header: [...names, ...taken], width, rows, column: Number($("column").value),
    answers: [], done: 0, size: BATCH_TEXTS, running: false, stopped: false, wake: () => {} };
}

function setRunning(running) {
  const wasHere = document.activeElement === $("stop");  // a button that is hidden loses the focus
  for (const id of ["column", "has-header", "file", "start"]) $(id).disabled = running;
  $("stop").hidden = !running;
  $("table-progress").hidden = false;
  if (running) {
    $("table-result").hidden = true;
    say($("table-status"), "Labelling…");
    $("stop").focus();
  } else {
    const rest = job.rows.length - job.done;
    $("column").disabled = $("has-header").disabled = rest > 0;
    $("start").textContent = rest ? `Continue with ${counted(rest, "row")}` : `Label ${counted(job.rows.length, "row")} again`;
    if (wasHere) $("start").focus();
  }
}

// Ask for the rows from the first without an answer to the last, or until a person stops it.
async function labelRows(job) {
  while (job.done < job.rows.length && !job.stopped) {
    const batch = nextBatch(job);
    const sent = batch.filter((row) => row.reason === null);
    const answers = sent.length ? await labelTexts(job, sent.map((row) => row.text)) : [];
    if (answers === null) return;
    sent.forEach((row, index) => Object.assign(row, answers[index]));
    job.answers.push(...batch);
    job.done += batch.length;
    $("progress").max = job.rows.length;
    $("progress").value = job.done;
    $("progress-text").textContent = `${count(job.done)} of ${counted(job.rows.length, "row")}`;
  }
}

// The next rows, as many as one request may have. A row that cannot be asked about has its reason already.
function nextBatch(job) {
  const batch = [];
  let characters = 0;
  for (const cells of job.rows.slice(job.done, job.done + job.size)) {
    const text = cells[job.column] || "";
    characters += text.length;
    if (batch.length && characters > BATCH_CHARACTERS) break;
    const wide = cells.length > job.width ? `${counted(cells.length, "cell")} where the first line has ${job.width}` : null;
    batch.push({ text, label: "", probability: "", version: "", reason: wide });
  }
  return batch;
}

// The answers for some texts; null if a person stopped it. A request that is too large is halved; a busy service is asked again.
async function labelTexts(job, texts) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { model, predictions } = await ask("predict", { texts, top_k: 1 });
      return predictions.map((one) => ({ label: one.label ?? "", probability: one.label === null ? "" : decimal(one.probability), version: model.version, reason: one.problem }));
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      if (error.status === 413 || error.status === 422) {
        if (texts.length === 1) return [{ reason: error.message }];
        const half = Math.ceil(texts.length / 2);
        job.size = Math.min(job.size, half);
        const first = await labelTexts(job, texts.slice(0, half));
        const second = first && await labelTexts(job, texts.slice(half));
        return second && [...first, ...second];
      }
      if (!error.mayPass || attempt === ATTEMPTS) throw error;
      const pause = Math.min(LONGEST_PAUSE, error.pause || 2 ** attempt / 2);
      $("progress-text").textContent = `${error.message} Next attempt in ${counted(Math.ceil(pause), "second")}.`;
      await new Promise((resolve) => {
        job.wake = resolve;
        setTimeout(resolve, 1000 * pause);
      });
      if (job.stopped) return null;
    }
  }
}

function summary(job) {
  const failed = job.answers.filter((row) => row.reason !== null).length;
  const of = job.done === job.rows.length ? "" : ` of ${count(job.rows.length)}`;
  return `${count(job.done - failed)}${of} ${job.done - failed === 1 && !of ? "row has" : "rows have"} a label` + (failed ? `, ${count(failed)} without one` : "");
}

// A row's cells, as many as there are names: missing ones are empty, and those beyond the last name are part of the last cell.
function fitted(cells, job) {
  const last = job.width - 1;
  return Array.from({ length: job.width }, (_, index) => (index < last ? cells[index] : cells.slice(last).join(job.delimiter)) ?? "");
}

// The shortest decimal of a probability, which the service computes in 32 bits.
function decimal(value) {
  let digits = 1;
  while (Math.fround(Number(value.toPrecision(digits))) !== Math.fround(value)) digits += 1;
  return String(Number(value.toPrecision(digits)));
}

// The counts, the rows without a label, and the file for download.
function showResult(job) {
  const counts = new Map(), failed = [];
  job.answers.forEach((row, index) => {
    if (row.reason === null) counts.set(row.label, (counts.get(row.label) || 0) + 1);
    else failed.push([index + 1, row.reason]);
  });
  const ranked = [...counts].sort((one, other) => other[1] - one[1]);
  $("label-counts").replaceChildren(...ranked.slice(0, SHOWN_COUNTS).map(([name, rows]) =>
    element("tr", {}, element("td", {}, label(name)), element("td", { class: "number" }, count(rows)))));
  $("more-counts").textContent = ranked.length > SHOWN_COUNTS ? `and ${count(ranked.length - SHOWN_COUNTS)} more labels` : "";
  $("problems").hidden = !failed.length;
  $("problem-rows").replaceChildren(...failed.slice(0, SHOWN_PROBLEMS).map(([row, reason]) =>
    element("tr", {}, element("td", { class: "number" }, count(row)), element("td", {}, reason))));
  $("more-problems").textContent = failed.length > SHOWN_PROBLEMS ? `and ${count(failed.length - SHOWN_PROBLEMS)} more; the file has all of them` : "";
  const added = (row) => [row.label, row.probability, row.version, row.reason ?? ""];
  const lines = job.answers.map((row, index) => csvLine([...fitted(job.rows[index], job), ...added(row)], job.delimiter));
  // The mark at the beginning makes spreadsheets read UTF-8.
  const parts = ["\ufeff", csvLine(job.header, job.delimiter), ...lines];
  URL.revokeObjectURL($("download").href);
  $("download").href = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  $("download").download = job.name.replace(/\.[^.]*$/, "") + ".labelled.csv";
  $("download").textContent = `Download ${$("download").download}`;
  $("table-result").hidden = !job.done;
}
