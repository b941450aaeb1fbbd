"use strict";
// Before anything is drawn: the colours that a reader chose on another page of the site.
try {
  const chosen = localStorage.getItem("msibench-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch (error) { /* a page on a disk may be refused a memory: the system's colours serve */ }
