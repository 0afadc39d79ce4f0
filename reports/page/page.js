// Sorting, filtering and opening of provenance. Rows are sorted inside their groups, which are never mixed.
const rowsOf = (body) => [...body.rows].filter((row) => !row.classList.contains("shared"));
const MOST_ROWS = 200; // shown at once: what a browser lays out without a pause
const words = new Intl.Collator(undefined, { numeric: true });

for (const section of document.querySelectorAll("section.task")) {
  const table = section.querySelector("table.board");
  const heads = [...table.tHead.rows[0].cells];
  const bodies = [...table.tBodies];

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      const compare = (a, b) => {
        if (a.key === "" && b.key === "") return direction * words.compare(a.text, b.text);
        if (a.key === "" || b.key === "") return a.key === "" ? 1 : -1; // rows without a number stay below
        return direction * (a.key - b.key);
      };
      for (const body of bodies) {
        const keyed = rowsOf(body).map((row) => {
          const cell = row.cells[column];
          return { row, key: cell.dataset.key || "", text: cell.textContent };
        });
        body.append(...keyed.sort(compare).map((each) => each.row));
      }
      show();
    });
  });

  // Scores and names are links to their row's origin; a click on any other cell goes there too.
  table.addEventListener("click", (event) => {
    const row = event.target.closest("tr.measured, tr.reported");
    if (!row || event.target.closest("a") || String(getSelection())) return;
    location.hash = row.querySelector("th a").hash;
    open();
  });

  const tools = section.querySelector(".tools");
  const [input, output, all] = ["input", "output", "button"].map((name) => tools.querySelector(name));
  const rows = bodies.flatMap(rowsOf);
  const texts = new Map();
  const textOf = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  let most = rows.length > MOST_ROWS ? Math.max(10, Math.floor(MOST_ROWS / bodies.length)) : Infinity; // per group
  const show = () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const counts = { found: 0, shown: 0 };
    for (const body of bodies) {
      let shown = 0;
      for (const row of rowsOf(body)) {
        const found = wanted.every((word) => textOf(row).includes(word));
        counts.found += found ? 1 : 0;
        row.hidden = !found || shown >= most;
        shown += row.hidden ? 0 : 1;
      }
      body.hidden = shown === 0;
      counts.shown += shown;
    }
    const matching = wanted.length ? `${counts.found} of ${rows.length} rows` : `${rows.length} rows`;
    const cut = counts.shown < counts.found;
    output.textContent = cut ? `${matching}, the first ${most} of each group shown` : matching;
    all.hidden = !cut;
  };
  const showAll = () => {
    most = Infinity;
    show();
  };
  input.addEventListener("input", show);
  all.addEventListener("click", showAll);
  addEventListener("beforeprint", showAll);
  tools.hidden = false;
  show();
}

function open() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const details = target && target.closest("details");
  if (details) {
    details.open = true;
    details.scrollIntoView({ block: "start" });
  }
}
addEventListener("hashchange", open);
open();
