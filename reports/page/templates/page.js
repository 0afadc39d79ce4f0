// Sorting, filtering, choice of columns, copying, opening of provenance. Rows are sorted inside their groups, which are
// never mixed. What was chosen is kept in the address after `#?`, so that a link shows the same view.
const asked = new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "");
const remember = (key, value) => {
    if (value) asked.set(key, value);
    else asked.delete(key);
    history.replaceState(null, "", `#?${asked}`);
};
const rowsOf = (body) => [...body.rows].filter((row) => !row.classList.contains("shared"));
const MOST_ROWS = 200; // shown at once: what a browser lays out without a pause
const LATEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    Δ: "$\\Delta$",
};
const latex = (text) => text.replace(/[\\~^±Δ{}$&#%_]/g, (char) => LATEX[char] ?? `\\${char}`);
const spreadsheet = (text) => (/^[=+\-@]/.test(text) && !/^[-+]?\d+(\.\d+)?$/.test(text) ? `'${text}` : text); // no cell is a formula
const WRITERS = {
    csv: (lines) =>
        lines.map((cells) => cells.map((text) => `"${spreadsheet(text).replaceAll('"', '""')}"`).join(",")).join("\n"),
    md: ([head, ...lines]) =>
        [head, head.map(() => "---"), ...lines]
            .map((cells) => `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`)
            .join("\n"),
    tex: ([head, ...lines]) => {
        const row = (cells) => `${cells.map(latex).join(" & ")} \\\\`;
        return [
            "\\begin{tabular}{l" + "l".repeat(head.length - 1) + "}",
            "\\toprule",
            row(head),
            "\\midrule",
            ...lines.map(row),
            "\\bottomrule",
            "\\end{tabular}",
        ].join("\n");
    },
};
const words = new Intl.Collator(undefined, { numeric: true });

for (const section of document.querySelectorAll("section.task")) {
    const task = section.id.slice("task-".length);
    const table = section.querySelector("table.board");
    const heads = [...table.tHead.rows[0].cells];
    const bodies = [...table.tBodies];

    const sortBy = (head, column, direction) => {
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
    };
    heads.forEach((head, column) => {
        head.querySelector("button").addEventListener("click", () => {
            const direction = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
            sortBy(head, column, direction);
            remember(`${task}.sort`, `${direction < 0 ? "-" : ""}${column}`);
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
    const [input, output, all] = ["input", "output", "button.all"].map((name) => tools.querySelector(name));
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
    input.addEventListener("input", () => {
        remember(`${task}.rows`, input.value);
        show();
    });
    all.addEventListener("click", showAll);
    addEventListener("beforeprint", showAll);

    // Columns: what leads stands there at first, all others can be had.
    const atFirst = heads.filter((head) => "more" in head.dataset).map((head) => head.cellIndex);
    const chosen = asked.get(`${task}.without`);
    const hiddenColumns = new Set(
        chosen === null
            ? atFirst
            : chosen
                  .split(",")
                  .filter((part) => part !== "none")
                  .map(Number),
    );
    const showColumns = () => {
        for (const row of [table.tHead.rows[0], ...rows]) {
            for (const cell of row.cells) cell.hidden = hiddenColumns.has(cell.cellIndex);
        }
        for (const cell of table.querySelectorAll("tr.shared th")) cell.colSpan = heads.length - hiddenColumns.size;
    };
    const choices = section.querySelector(".choices");
    heads.slice(1).forEach((head, place) => {
        const [label, box] = ["label", "input"].map((name) => document.createElement(name));
        box.type = "checkbox";
        box.checked = !hiddenColumns.has(place + 1);
        box.addEventListener("change", () => {
            if (box.checked) hiddenColumns.delete(place + 1);
            else hiddenColumns.add(place + 1);
            remember(`${task}.without`, [...hiddenColumns].sort((a, b) => a - b).join(",") || "none");
            showColumns();
        });
        label.append(box, " ", head.textContent.trim());
        choices?.append(label);
    });

    for (const button of section.querySelectorAll(".copy button")) {
        button.addEventListener("click", async () => {
            const seen = (row) =>
                [...row.cells].filter((cell) => !cell.hidden).map((cell) => cell.innerText.trim().replace(/\s+/g, " "));
            const lines = [table.tHead.rows[0], ...bodies.flatMap(rowsOf).filter((row) => !row.hidden)].map(seen);
            await navigator.clipboard.writeText(WRITERS[button.value](lines));
            const name = button.textContent;
            button.textContent = "copied";
            setTimeout(() => (button.textContent = name), 1500);
        });
    }

    input.value = asked.get(`${task}.rows`) ?? "";
    const sorted = asked.get(`${task}.sort`);
    const place = Math.abs(Number(sorted));
    if (sorted !== null && heads[place]) sortBy(heads[place], place, sorted.startsWith("-") ? -1 : 1);
    showColumns();
    tools.hidden = false;
    show();
}

const everywhere = document.querySelector("#everywhere");
everywhere?.querySelector("input").addEventListener("input", (event) => {
  for (const input of document.querySelectorAll("section.task .tools input[type=search]")) {
    input.value = event.target.value;
    input.dispatchEvent(new Event("input"));
  }
});
everywhere?.removeAttribute("hidden");

function open() {
    const target = location.hash && !location.hash.startsWith("#?") && document.getElementById(location.hash.slice(1));
    const details = target && target.closest("details");
    if (details) {
        details.open = true;
        details.scrollIntoView({ block: "start" });
    }
}
addEventListener("hashchange", open);
open();
