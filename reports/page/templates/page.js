// Sorting, filtering, facets, choice of columns, copying, opening of provenance. Rows are sorted inside their groups, which
// are never mixed. What was chosen is kept in the address after `#?`, so that a link shows the same view. Of large tables
// the page holds the first rows of each group; the others are data beside the table, and become rows when they are shown.
const asked = new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "");
const remember = (key, value) => {
    asked.delete(key);
    for (const each of [value].flat()) if (each) asked.append(key, each);
    history.replaceState(null, "", `#?${asked}`);
};
const rowsOf = (body) => [...body.rows].filter((row) => !row.classList.contains("shared"));
const MOST_ROWS = 200; // shown at once: what a browser lays out without a pause
const MOST_PRINTED = 2000;
const LONGEST_NAME = 24; // a longer one may be cut; a tooltip has all of it
const MOST_VALUES = 40; // of a facet: others are found by words
const LATEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    Δ: "$\\Delta$",
};
const latex = (text) => text.replace(/[\\~^±Δ{}$&#%_]/g, (char) => LATEX[char] ?? `\\${char}`);
const spreadsheet = (text) => (/^[=+\-@]/.test(text) && !/^[-+]?\d+(\.\d+)?$/.test(text) ? `'${text}` : text); // no cell is a formula
const ungrouped = (text) => (/^\d{1,3}(,\d{3})+(\.\d+)?$/.test(text) ? text.replaceAll(",", "") : text); // as programs read it
const WRITERS = {
    csv: (lines) =>
        lines.map((cells) => cells.map((text) => `"${spreadsheet(ungrouped(text)).replaceAll('"', '""')}"`).join(",")).join("\n"),
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
const element = (name, fields = {}, ...children) => {
    const made = Object.assign(document.createElement(name), fields);
    made.append(...children);
    return made;
};
const inBdi = (text) => element("bdi", { textContent: text });

// A line of a table. One of data has no `row` until it is shown; `texts` are its cells.
const numberIn = (text) => (text === "baseline" ? "0" : (/^[-+]?\d+(,\d{3})*(\.\d+)?(?!\w)/.exec(text)?.[0] ?? "").replaceAll(",", ""));
const lineOf = (row) => ({ row, texts: [...row.cells].map((cell) => cell.textContent.trim()), facets: row.dataset });
const wordsIn = (line) => (line.words ??= line.texts.join(" ").toLowerCase());
const origins = new Map(); // what makes the details of a line of data, by their anchor

const unpack = async (script) => {
    const packed = atob(script.textContent);
    const bytes = new Uint8Array(packed.length);
    for (let at = 0; at < packed.length; at += 1) bytes[at] = packed.charCodeAt(at); // a callback a byte takes 25 times as long
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
};
const linesOf = (data, section) =>
    data.groups.map((group, place) =>
        group.kinds.map((kind, number) => {
            const anchor = `from-${data.section}-${place}-${group.start + number}`;
            const texts = group.cells.map((column) => column[number]);
            const facets = Object.fromEntries(Object.entries(group.facets).map(([name, all]) => [name, all[number]]));
            const source = group.sources[number];
            origins.set(anchor, () => {
                const known = Object.entries(group.provenance).filter(([, all]) => all[number] !== "–");
                const list = known.flatMap(([title, all]) => {
                    const text = inBdi(all[number]);
                    const whole = title === "Source" ? element("a", { href: source }, text) : text;
                    return [element("dt", { textContent: title }), element("dd", {}, whole)];
                });
                const name = element("b", {}, inBdi(texts[0]));
                const summary = element("summary", {}, name, " ", element("span", {}, inBdi(group.origins[number])));
                const details = element("details", {}, summary, element("dl", { id: anchor }, ...list));
                section.querySelector(".origins").append(details);
            });
            return { kind, anchor, texts, facets, source };
        }),
    );
const rowOf = (line, heads) => {
    if (line.row) return line.row;
    const link = (text) => element("a", { href: `#${line.anchor}`, title: text.length > LONGEST_NAME ? text : "" }, inBdi(text));
    const [name, ...others] = line.texts;
    const first = element("th", { scope: "row" }, link(name));
    if (line.source) first.append(" ", element("small", {}, element("a", { href: line.source, textContent: "reported" })));
    const cells = others.map((text, place) => {
        const { score, number } = heads[place + 1];
        return element("td", { className: number ? "number" : score ? "delta" : "words" }, score ? link(text) : inBdi(text));
    });
    return (line.row = element("tr", { className: line.kind }, first, ...cells));
};

const facets = [...document.querySelectorAll(".facet")].map((menu) => ({ menu, name: menu.dataset.facet }));
for (const facet of facets) facet.chosen = new Set(asked.getAll(`only.${facet.name}`));
const tables = []; // every table's lines, and what shows them

for (const section of document.querySelectorAll("section.task")) {
    const task = section.id.slice("task-".length);
    const table = section.querySelector("table.board");
    const heads = [...table.tHead.rows[0].cells];
    const kinds = heads.map((head) => ({ score: "score" in head.dataset, number: head.classList.contains("number") }));
    const bodies = [...table.tBodies].map((body) => ({ body, headings: [...body.querySelectorAll(".shared")], lines: rowsOf(body).map(lineOf) }));
    const all = () => bodies.flatMap(({ lines }) => lines);

    const sortBy = (head, column, direction) => {
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        const compare = (a, b) => {
            if (a.key === "" && b.key === "") return direction * words.compare(a.text, b.text);
            if (a.key === "" || b.key === "") return a.key === "" ? 1 : -1; // rows without a number stay below
            return direction * (a.key - b.key);
        };
        for (const each of bodies) {
            const keyed = each.lines.map((line) => {
                const text = line.texts[column];
                return { line, key: column ? numberIn(text) : "", text }; // names that begin with a number are words
            });
            each.lines = keyed.sort(compare).map(({ line }) => line);
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
    const [input, output, further] = ["input", "output", "button.all"].map((name) => tools.querySelector(name));
    const fewest = Math.max(10, Math.floor(MOST_ROWS / bodies.length));
    let most = fewest; // per group
    const show = () => {
        const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        const narrowed = facets.filter(({ chosen }) => chosen.size);
        const counts = { all: 0, found: 0, shown: 0 };
        const limit = all().length > MOST_ROWS ? most : Infinity;
        for (const { body, headings, lines } of bodies) {
            const found = lines.filter(
                (line) =>
                    narrowed.every(({ name, chosen }) => chosen.has(line.facets[name])) &&
                    wanted.every((word) => wordsIn(line).includes(word)),
            );
            const shown = found.slice(0, limit);
            body.replaceChildren(...headings, ...shown.map((line) => rowOf(line, kinds)));
            body.hidden = shown.length === 0;
            counts.all += lines.length;
            counts.found += found.length;
            counts.shown += shown.length;
        }
        const matching = wanted.length || narrowed.length ? `${counts.found} of ${counts.all} rows` : `${counts.all} rows`;
        const cut = counts.shown < counts.found;
        output.textContent = cut ? `${matching}, the first ${most} of each group shown` : matching;
        further.hidden = !cut;
    };
    input.addEventListener("input", () => {
        remember(`${task}.rows`, input.value);
        show();
    });
    further.addEventListener("click", () => {
        most *= 5;
        show();
    });
    addEventListener("beforeprint", () => {
        if (all().length > MOST_PRINTED) return;
        most = Infinity;
        show();
    });

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
    const hiding = table.parentElement.insertAdjacentElement("beforebegin", element("style"));
    const showColumns = () => {
        const cells = [...hiddenColumns].map((place) => `#${CSS.escape(section.id)} .board tr > :nth-child(${place + 1})`);
        hiding.textContent = cells.length ? `${cells.join(",")}{display:none}` : "";
        for (const { cells } of bodies.flatMap(({ headings }) => headings)) cells[0].colSpan = heads.length - hiddenColumns.size;
    };
    const choices = section.querySelector(".choices");
    heads.slice(1).forEach((head, place) => {
        const box = element("input", { type: "checkbox", checked: !hiddenColumns.has(place + 1) });
        box.addEventListener("change", () => {
            if (box.checked) hiddenColumns.delete(place + 1);
            else hiddenColumns.add(place + 1);
            remember(`${task}.without`, [...hiddenColumns].sort((a, b) => a - b).join(",") || "none");
            showColumns();
        });
        choices?.append(element("label", {}, box, " ", head.textContent.trim()));
    });

    for (const button of section.querySelectorAll(".copy button")) {
        button.addEventListener("click", async () => {
            const seen = (row) =>
                [...row.cells]
                    .filter((cell) => !hiddenColumns.has(cell.cellIndex))
                    .map((cell) => cell.innerText.trim().replace(/\s+/g, " "));
            const lines = [table.tHead.rows[0], ...bodies.flatMap(({ body }) => rowsOf(body))].map(seen);
            await navigator.clipboard.writeText(WRITERS[button.value](lines));
            const name = button.textContent;
            button.textContent = "copied";
            setTimeout(() => (button.textContent = name), 1500);
        });
    }

    const begin = () => {
        input.value = asked.get(`${task}.rows`) ?? "";
        const sorted = asked.get(`${task}.sort`);
        const place = Math.abs(Number(sorted));
        if (sorted !== null && heads[place]) sortBy(heads[place], place, sorted.startsWith("-") ? -1 : 1);
        else show();
    };
    tables.push({ all, show });
    showColumns();
    tools.hidden = false;
    const more = section.querySelector("script.more");
    if (!more) begin();
    else
        unpack(more).then((data) => {
            linesOf(data, section).forEach((lines, place) => bodies[place].lines.push(...lines));
            begin();
            showFacets();
            open();
        }).catch(() => {
            begin();
            output.textContent += "; this browser cannot read the others";
        });
}

// Facets: values of one are alternatives, and a row must have one of every facet in which something is chosen.
function showFacets() {
    for (const { menu, name, chosen } of facets) {
        const counts = new Map([...chosen].map((value) => [value, 0]));
        for (const line of tables.flatMap(({ all }) => all())) {
            const value = line.facets[name];
            counts.set(value, (counts.get(value) ?? 0) + 1);
        }
        const values = [...counts].sort((a, b) => b[1] - a[1] || words.compare(a[0], b[0])).slice(0, MOST_VALUES);
        const [summary, choices] = ["summary", "fieldset"].map((tag) => menu.querySelector(tag));
        const title = (menu.dataset.title ??= summary.textContent);
        const retitle = () => (summary.textContent = chosen.size ? `${title} (${chosen.size})` : title);
        const labels = values.map(([value, count]) => {
            const box = element("input", { type: "checkbox", checked: chosen.has(value) });
            box.addEventListener("change", () => {
                if (box.checked) chosen.add(value);
                else chosen.delete(value);
                remember(`only.${name}`, [...chosen]);
                retitle();
                for (const { show } of tables) show();
            });
            return element("label", {}, box, ` ${value} (${count})`);
        });
        choices.replaceChildren(choices.querySelector("legend"), ...labels);
        menu.hidden = counts.size < 2 && !chosen.size;
        retitle();
    }
}
showFacets();

const everywhere = document.querySelector("#everywhere");
everywhere?.querySelector("input[type=search]")?.addEventListener("input", (event) => {
  for (const input of document.querySelectorAll("section.task .tools input[type=search]")) {
    input.value = event.target.value;
    input.dispatchEvent(new Event("input"));
  }
});
everywhere?.removeAttribute("hidden");

for (const button of document.querySelectorAll("button.opens")) {
    button.hidden = false;
    button.addEventListener("click", () => {
        const all = [...button.closest("section").querySelectorAll(".origins details")];
        const closed = all.some((details) => !details.open);
        for (const details of all) details.open = closed;
        button.textContent = closed ? "Close all" : "Open all";
    });
}

function open() {
    const anchor = location.hash.slice(1);
    if (origins.has(anchor) && !document.getElementById(anchor)) origins.get(anchor)();
    const target = location.hash && !location.hash.startsWith("#?") && document.getElementById(location.hash.slice(1));
    const details = target && target.closest("details");
    if (details) {
        details.open = true;
        details.scrollIntoView({ block: "start" });
    }
}
addEventListener("hashchange", open);
open();
