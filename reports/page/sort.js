// A click on a column's title sorts the rows inside each group; groups are never mixed.
for (const table of document.querySelectorAll("table.board")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.key;
      const compare = (a, b) => {
        if (key(a) === "" && key(b) === "") {
          return direction * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
        }
        if (key(a) === "" || key(b) === "") return key(a) === "" ? 1 : -1;
        return direction * (Number(key(a)) - Number(key(b)));
      };
      for (const group of table.tBodies) {
        const rows = [...group.rows].filter((row) => !row.classList.contains("shared"));
        rows.sort(compare).forEach((row) => group.append(row));
      }
    });
  });
}
