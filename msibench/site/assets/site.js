"use strict";
// Search, filters and sorting; every page is complete without them.
const $ = (id) => document.getElementById(id);
const root = document.body.dataset.root;

const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : prefersDark.matches;
};
const nameTheme = () => { $("theme").textContent = isDark() ? "Light theme" : "Dark theme"; };
$("theme").addEventListener("click", () => {
  const chosen = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  try { localStorage.setItem("msibench-theme", chosen); } catch (error) { /* not remembered */ }
  nameTheme();
});
prefersDark.addEventListener("change", nameTheme);
nameTheme();

const MOST_FOUND = 12;
/** Entries that hold every word: those with a word in the name first. */
function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  return window.msibenchSearch
    .map((entry, at) => {
      const name = entry.t.toLowerCase(), all = `${name} ${entry.k} ${entry.x.toLowerCase()}`;
      if (!words.every((word) => all.includes(word))) return null;
      const inName = words.filter((word) => name.includes(word)).length;
      return { entry, at, score: 4 * inName + (name.startsWith(words[0]) ? 2 : 0) - (entry.k === "docs" ? 1 : 0) };
    })
    .filter(Boolean)
    .sort((a, b) => b.score - a.score || a.at - b.at)
    .map((hit) => hit.entry);
}
function showFound() {
  const text = $("search").value.trim(), found = search(text);
  $("found").hidden = !text;
  $("found-list").replaceChildren(...found.slice(0, MOST_FOUND).map((entry) => {
    const link = document.createElement("a"), kind = document.createElement("small"), line = document.createElement("li");
    link.href = root + entry.u; link.textContent = entry.t; kind.textContent = ` ${entry.k}`;
    line.append(link, kind);
    return line;
  }));
  const more = found.length - MOST_FOUND;
  $("found-count").textContent = !found.length ? "Nothing is found" : more > 0 ? `The first ${MOST_FOUND} of ${found.length}` : `${found.length} found`;
}
$("search").addEventListener("input", showFound);
$("search").closest("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const first = $("found-list").querySelector("a");
  if (first) location.href = first.href;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("found").hidden) { $("search").value = ""; showFound(); $("search").focus(); }
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) { event.preventDefault(); $("search").focus(); }
});

/** Rows and columns of the overview that answer every filter; a hidden column's cells are hidden with it. */
function filterOverview() {
  const table = $("overview"), chosen = {};
  for (const select of document.querySelectorAll("[data-filter]")) chosen[select.dataset.filter] = select.value;
  const wanted = $("method-filter").value.trim().toLowerCase();
  const heads = [...table.tHead.rows[0].cells];
  const columns = heads.map((head) => !head.dataset.board || ["factor", "instrument", "guide"].every((name) => !chosen[name] || head.dataset[name].split("|").includes(chosen[name])));
  let methods = 0;
  for (const row of table.tBodies[0].rows) {
    const held = heads.some((head, at) => head.dataset.board && columns[at] && row.cells[at].dataset.sort);
    const fits = ["task", "licence"].every((name) => !chosen[name] || row.dataset[name] === chosen[name]);
    row.hidden = !(held && fits && row.cells[0].textContent.toLowerCase().includes(wanted));
    if (!row.hidden) methods += 1;
  }
  for (const row of [table.tHead.rows[0], ...table.tBodies[0].rows]) columns.forEach((shown, at) => { row.cells[at].hidden = !shown; });
  const boards = heads.filter((head, at) => head.dataset.board && columns[at]).length;
  const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
  $("overview-state").textContent = `${counted(methods, "method")} on ${counted(boards, "board")}`;
}
function startOverview() {
  if (!$("overview")) return;
  for (const select of document.querySelectorAll("[data-filter]")) select.addEventListener("change", filterOverview);
  $("method-filter").addEventListener("input", filterOverview);
  $("filters-reset").closest("form").addEventListener("submit", (event) => event.preventDefault());
  $("filters-reset").addEventListener("click", () => {
    for (const select of document.querySelectorAll("[data-filter]")) select.value = "";
    $("method-filter").value = "";
    filterOverview();
  });
  filterOverview();
}
/** Sort by a heading: numbers fall first, names rise first; what is empty stays below. */
function startSorting() {
  for (const button of document.querySelectorAll("button.sort")) button.addEventListener("click", () => {
    const head = button.closest("th"), table = button.closest("table"), at = head.cellIndex;
    const numeric = head.classList.contains("number");
    const falling = head.getAttribute("aria-sort") === "none" ? numeric : head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => row.cells[at].dataset.sort ?? row.cells[at].textContent.trim();
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
      return falling ? -order : order;
    });
    table.tBodies[0].append(...rows);
  });
}
/** A table that is wider than its place says so: where columns are hidden nobody looks for them. */
function markScrolling() {
  for (const box of document.querySelectorAll(".scroll")) {
    const mark = () => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
    box.addEventListener("scroll", mark);
    new ResizeObserver(mark).observe(box);
  }
}
startOverview();
startSorting();
markScrolling();
document.body.dataset.ready = "site";
