// The page's elements by id, and functions that make elements. Texts are always set as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const count = (number) => number.toLocaleString("en");
const counted = (number, one, many = one + "s") => `${count(number)} ${number === 1 ? one : many}`;

// Words with a capital and a full stop.
const sentence = (words) => words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");

// A probability in percent; only 0 is 0%, and only 1 is 100%.
function share(value) {
  if (value > 0 && value < 0.001) return "<0.1%";
  if (value < 1 && value > 0.999) return ">99.9%";
  return (100 * value).toFixed(value === 0 || value === 1 ? 0 : 1) + "%";
}

// A number with its sign, a true minus where it is negative.
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A label of the model: in any script and direction, apart from the words around it.
function label(name) {
  return element("bdi", { class: "label" }, name.length > 80 ? name.slice(0, 80) + "…" : name);
}

// Show a message where a screen reader announces it.
function say(where, message, failed = false) {
  where.replaceChildren(...(message ? [element("p", { class: failed ? "failed" : "quiet" }, message)] : []));
}
