// The attention maps: draws each head's weights, and shows what a token attends to when the pointer is over it or its row.
"use strict";

// Words that fit at an axis.
const MOST_TICKS = 18;

const percent = (value) => (value > 0 && value < 0.001 ? "<0.1" : (100 * value).toFixed(1)) + "%";

// Weights as stored in the page: multiples of 1/65,535, as base64 of two bytes each, the lower one first.
function decode(text) {
  const bytes = atob(text);
  return Float32Array.from({ length: bytes.length / 2 },
    (_, i) => (bytes.charCodeAt(2 * i) + 256 * bytes.charCodeAt(2 * i + 1)) / 65535);
}

function open(panel) {
  const n = Number(panel.dataset.length), weights = decode(panel.dataset.weights);
  const figures = [...panel.querySelectorAll("figure")], words = [...panel.querySelectorAll(".word")];
  const edges = words.map((word) => [Number(word.dataset.first), Number(word.dataset.last)]);
  const caption = panel.querySelector(".caption");
  let head = 0, from = Number(panel.dataset.start);

  function draw() {
    const hex = getComputedStyle(panel).getPropertyValue("--blue").trim();
    const colour = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    figures.forEach((figure, h) => {
      const canvas = figure.querySelector("canvas"), context = canvas.getContext("2d");
      const own = weights.subarray(h * n * n, (h + 1) * n * n), image = context.createImageData(n, n);
      const largest = own.reduce((a, b) => Math.max(a, b), 0) || 1;
      // The square root, so that weak cells stay visible next to a strong one.
      own.forEach((a, i) => image.data.set([...colour, 255 * Math.sqrt(a / largest)], 4 * i));
      context.putImageData(image, 0, 0);
      figure.querySelector(".largest").textContent = percent(largest);
    });
  }

  // A label of an axis in the middle of a word's positions.
  function tick(k, side) {
    const [first, last] = edges[k], found = document.createElement("bdi");
    found.textContent = words[k].textContent.trim();
    found.style[side] = `${(50 * (first + last + 1)) / n}%`;
    return found;
  }

  // The words at both axes; of many, only those that fit.
  function label() {
    const step = Math.ceil(words.length / MOST_TICKS), some = [...words.keys()].filter((k) => k % step === 0);
    for (const figure of figures) {
      figure.querySelector(".columns").replaceChildren(...some.map((k) => tick(k, "left")));
      const now = Object.assign(tick(from, "top"), { className: "now" });
      figure.querySelector(".rows").replaceChildren(...some.map((k) => tick(k, "top")), now);
    }
  }

  // The weight of each word for the chosen word, as the mean over its tokens.
  function shares() {
    const [first, last] = edges[from], own = weights.subarray(head * n * n, (head + 1) * n * n);
    return edges.map(([start, end]) => {
      let sum = 0;
      for (let i = first; i <= last; i++) for (let j = start; j <= end; j++) sum += own[i * n + j];
      return sum / (last - first + 1);
    });
  }

  function look() {
    const given = shares(), largest = Math.max(...given) || 1;
    words.forEach((word, k) => {
      word.style.setProperty("--w", (given[k] / largest).toFixed(3));
      word.title = percent(given[k]);
      word.classList.toggle("from", k === from);
    });
    figures.forEach((figure, h) => {
      figure.classList.toggle("chosen", h === head);
      const row = figure.querySelector(".row"), [first, last] = edges[from];
      row.style.top = `${(100 * first) / n}%`;
      row.style.height = `${(100 * (last - first + 1)) / n}%`;
    });
    label();
    const most = given.map((value, k) => [value, k]).sort((a, b) => b[0] - a[0]).slice(0, 5);
    // Each word has its own text direction; the quotes have the page's.
    const word = (k) => ["“", Object.assign(document.createElement("bdi"), { textContent: words[k].textContent.trim() }), "”"];
    caption.replaceChildren(`${figures[head].dataset.name}: `, ...word(from), " attends to ",
      ...most.flatMap(([value, k], rank) => [rank ? ", " : "", ...word(k), ` ${percent(value)}`]));
  }

  function point(k, h = head) {
    if (k >= 0 && k < words.length) { from = k; head = h; look(); }
  }

  words.forEach((word, k) => {
    word.addEventListener("pointerenter", () => point(k));
    word.addEventListener("click", () => point(k));
  });
  figures.forEach((figure, h) => {
    const canvas = figure.querySelector("canvas");
    const at = (event) => {
      const box = canvas.getBoundingClientRect(), row = Math.floor((n * (event.clientY - box.top)) / box.height);
      point(edges.findIndex(([first, last]) => row >= first && row <= last), h);
    };
    canvas.addEventListener("pointermove", at);
    canvas.addEventListener("click", at);
    canvas.addEventListener("focus", () => point(from, h));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (step) { point(from + step, h); event.preventDefault(); }
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  look();
}

document.querySelectorAll(".window").forEach(open);
