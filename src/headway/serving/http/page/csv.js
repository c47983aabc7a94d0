// Reads and writes CSV files.

const DELIMITERS = [",", ";", "\t", "|"];
// Characters of a file from which its delimiter is recognised.
const SNIFFED = 65536;

// A file's text: UTF-8, or UTF-16 with its mark, or else Windows-1252, which reads anything.
function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  const wide = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "";
  if (wide) return { text: new TextDecoder(wide).decode(bytes), encoding: "UTF-16" };
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), encoding: "UTF-8" };
  } catch {
    return { text: new TextDecoder("windows-1252").decode(bytes), encoding: "Windows-1252" };
  }
}

// The cells of every row that is not blank. A quoted cell may hold delimiters, line breaks and doubled quotes.
function parseCsv(text, delimiter) {
  const edge = new RegExp(`[${delimiter}\r\n]`, "g");
  const edgeFrom = (from) => {
    edge.lastIndex = from;
    const found = edge.exec(text);
    return found ? found.index : text.length;
  };
  const rows = [];
  let row = [], at = 0;
  while (at < text.length) {
    let cell = "", from = at;
    if (text[at] === '"') {
      from = at + 1;
      for (;;) {
        const quote = text.indexOf('"', from);
        if (quote < 0) {  // never closed: the rest of the file is the cell
          cell += text.slice(from);
          from = text.length;
          break;
        }
        cell += text.slice(from, quote);
        from = quote + 1;
        if (text[from] !== '"') break;
        cell += '"';
        from += 1;
      }
    }
    const end = edgeFrom(from);
    row.push(cell + text.slice(from, end));
    at = end;
    if (text[at] === delimiter) {
      at += 1;
      if (at === text.length) row.push("");
      continue;
    }
    at += text.startsWith("\r\n", at) ? 2 : 1;
    rows.push(row);
    row = [];
  }
  if (row.length) rows.push(row);
  return rows.filter((cells) => cells.length > 1 || cells[0] !== "");
}

// The delimiter with which most rows have as many cells as the first one, and more than one.
function delimiterOf(text) {
  let best = ",", most = 0;
  for (const delimiter of DELIMITERS) {
    const rows = parseCsv(text.slice(0, SNIFFED), delimiter);
    if (text.length > SNIFFED && rows.length > 1) rows.pop();  // it may be cut
    const width = rows.length ? rows[0].length : 1;
    const fitting = width > 1 ? rows.filter((cells) => cells.length === width).length / rows.length : 0;
    if (fitting > most) [best, most] = [delimiter, fitting];
  }
  return best;
}

function csvLine(cells, delimiter) {
  const quoted = (cell) => (cell.includes(delimiter) || /["\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  // A lone empty cell would be a blank line.
  return (cells.length === 1 && cells[0] === "" ? '""' : cells.map(quoted).join(delimiter)) + "\n";
}
