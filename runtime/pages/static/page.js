// Tables that sort and filter, and data that stand packed in the page.

function sortable(table) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const number = head.classList.contains("number");
      // The first press shows the greatest figures first, and texts from A on.
      const up = head.ariaSort === "none" ? !number : head.ariaSort === "descending";
      for (const other of head.parentElement.children) other.ariaSort = "none";
      head.ariaSort = up ? "ascending" : "descending";
      const key = row => {
        const cell = row.cells[column];
        return number ? (cell.dataset.value === "" ? -Infinity : Number(cell.dataset.value)) : cell.textContent;
      };
      const keyed = [...body.rows].map(row => [key(row), row]);
      keyed.sort(([a], [b]) => number ? a - b : a.localeCompare(b, "en", { numeric: true }));
      if (!up) keyed.reverse();
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

function filtered(input) {
  const table = document.getElementById(input.dataset.filters);
  const output = input.closest("p").querySelector("output");
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
      shown += !row.hidden;
    }
    output.value = `${shown.toLocaleString("en")} of ${table.tBodies[0].rows.length.toLocaleString("en")} rows`;
  };
  input.addEventListener("input", show);
  show();
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("input[data-filters]").forEach(filtered);

function plain(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function count(value) {
  return Math.round(value).toLocaleString("en");
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  Object.assign(made, attributes);
  return made;
}
