// Sorting of the table and paging of the gallery; without it the report shows everything at once.
// No ampersands and no less-than signs: the file stays well-formed markup.
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const falling = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = row => row.cells[column].textContent;
    const compare = (a, b) => value(a).localeCompare(value(b), "en", { numeric: true });
    const rows = [...table.tBodies[0].rows].sort((a, b) => falling ? compare(b, a) : compare(a, b));
    table.tBodies[0].append(...rows);
  }));
}
for (const gallery of document.querySelectorAll(".gallery")) {
  const shots = [...gallery.children], each = 12, last = Math.ceil(shots.length / each) - 1;
  const bar = gallery.previousElementSibling;
  let page = 0;
  const button = (text, step) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", () => show(page + step));
    return made;
  };
  const back = button("Previous", -1), on = button("Next", 1), where = document.createElement("span");
  where.setAttribute("aria-live", "polite");
  const show = to => {
    page = Math.max(0, Math.min(last, to));
    shots.forEach((shot, i) => { shot.hidden = Math.floor(i / each) !== page; });
    back.disabled = page === 0;
    on.disabled = page === last;
    where.textContent = "Page " + (page + 1) + " of " + (last + 1);
  };
  if (last > 0) {
    bar.append(back, where, on);
    show(0);
  }
}
