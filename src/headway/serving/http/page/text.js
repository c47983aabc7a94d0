// The form for one text: its label, the most probable labels, and the words that moved the prediction.

const SHOWN_LABELS = 10, SHOWN_WORDS = 8;
const words = Intl.Segmenter ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;
let asked = 0;  // number of the last request, so that an earlier answer does not replace a later one

$("text-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const number = (asked += 1), text = $("text").value;
  const isLast = () => number === asked;
  $("text-result").hidden = true;
  say($("text-status"), "Classifying…");
  let version;
  try {
    const found = await ask("predict", { text, top_k: SHOWN_LABELS });
    if (!isLast()) return;
    const [prediction] = found.predictions;
    if (prediction.problem) {
      say($("text-status"), `Not classified: ${prediction.problem}.`, true);
      return;
    }
    showPrediction(prediction, found.model);
    version = found.model.version;
  } catch (error) {
    if (isLast()) say($("text-status"), error.message, true);
    return;
  }
  await explain(text, version, isLast);
});

$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("text-form").requestSubmit();
});

function showPrediction(prediction, model) {
  $("text-status").replaceChildren(
    element("p", { class: "answer" }, label(prediction.label), ` ${share(prediction.probability)}`,
      element("span", { class: "quiet" }, ` by version ${model.version}`)));
  $("probabilities").replaceChildren(...prediction.top.slice(0, SHOWN_LABELS).map((one) => {
    const bar = element("span", { class: "bar" });
    bar.style.setProperty("--w", one.probability);
    return element("tr", {}, element("td", {}, label(one.label)), element("td", { class: "bars" }, bar),
      element("td", { class: "number" }, share(one.probability)));
  }));
  $("more-labels").textContent = labels > SHOWN_LABELS ? `The ${SHOWN_LABELS} most probable of ${count(labels)} labels.` : "";
  $("text-result").hidden = false;
}

// Explain the prediction of a version. If another one answers by now, its prediction is shown instead.
async function explain(text, version, isLast) {
  $("explanation").hidden = true;
  $("explanation-status").textContent = "Explaining…";
  try {
    const { model, prediction, explanation } = await ask("explain", { text });
    if (!isLast()) return;
    if (model.version !== version) showPrediction(prediction, model);
    $("explanation-status").textContent = "";
    showExplanation(text, explanation);
  } catch (error) {
    if (isLast()) $("explanation-status").textContent = `No explanation: ${error.message}`;
  }
}

// The contribution of each character: a token's is divided among its characters. Positions count code points, as in Python.
function byCharacter(length, explanation) {
  const values = new Float64Array(length);
  const add = (spans, contributions) => contributions.forEach((value, i) => {
    const [start, end] = spans[i];
    for (let at = start; at < end; at += 1) values[at] += value / (end - start);
  });
  const { linear, attention } = explanation;
  if (linear) add(explanation.spans, linear.tokens);
  if (attention.subwords) add(attention.subwords.spans, attention.contributions);
  else add(attention.seen.map((token) => explanation.spans[token]), attention.tokens);
  return values;
}

// The text cut into words and what is between them, each with the sum of its characters.
function pieces(text, values) {
  const parts = words ? [...words.segment(text)].map((part) => part.segment) : text.match(/\s+|\S+/gu) || [];
  let at = 0;
  return parts.map((part) => {
    const end = at + [...part].length;
    let value = 0;
    for (; at < end; at += 1) value += values[at];
    return { part, value };
  });
}

function showExplanation(text, explanation) {
  const found = pieces(text, byCharacter([...text].length, explanation));
  const largest = Math.max(...found.map((one) => Math.abs(one.value))) || 1;
  $("explained-text").replaceChildren(...found.map(({ part, value }) => {
    if (!value || !part.trim()) return part;
    const word = element("span", { class: value > 0 ? "for" : "against", title: signed(value) }, part);
    word.style.setProperty("--w", (Math.abs(value) / largest).toFixed(3));
    return word;
  }));
  const sums = new Map();
  for (const { part, value } of found) if (value && part.trim()) sums.set(part, (sums.get(part) || 0) + value);
  const ranked = [...sums].sort((one, other) => other[1] - one[1]);
  showWords($("words-for"), ranked.filter(([, value]) => value > 0));
  showWords($("words-against"), ranked.filter(([, value]) => value < 0).reverse());
  const read = explanation.kept;
  if (read.length && read[read.length - 1] >= read.length) {
    $("explanation-status").textContent = "The text is longer than the model reads: words in its middle are left out.";
  }
  $("explanation").hidden = false;
}

function showWords(list, ranked) {
  const shown = ranked.slice(0, SHOWN_WORDS).map(([word, value]) => element("li", {}, element("bdi", {}, word), ` ${signed(value)}`));
  list.replaceChildren(...(shown.length ? shown : [element("li", {}, "none")]));
}
