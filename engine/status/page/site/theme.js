// Light or dark, chosen or as the system has it. Not a module: it runs before
// the first paint, so that a dark page never flashes white.
"use strict";

(() => {
  const KEY = "distributor-status-theme";
  const root = document.documentElement;
  let chosen = "auto";
  try {
    chosen = localStorage.getItem(KEY) ?? "auto";
  } catch { /* storage is off: the choice lasts as long as the page */ }

  const apply = () => {
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
    else delete root.dataset.theme;
    document.dispatchEvent(new Event("themechange"));
  };
  apply();

  document.addEventListener("DOMContentLoaded", () => {
    for (const radio of document.querySelectorAll("input[name=theme]")) {
      radio.checked = radio.value === (root.dataset.theme ?? "auto");
      radio.addEventListener("change", () => {
        chosen = radio.value;
        try {
          localStorage.setItem(KEY, chosen);
        } catch { /* as above */ }
        apply();
      });
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
})();
