// The slowest collectors. Keys are long: their ends are shown, all of one is
// in the tooltip, and pressing it copies it.

import { bytes, duration, NONE, shortKey } from "./format.js";
import { element, setAttribute, setText, Table } from "./dom.js";
import { list } from "./rates.js";

const SAID_FOR = 1500; // ms that "copied" stands

export function clients() {
  const table = new Table(document.getElementById("clients"), {
    label: "Slowest collectors", empty: "No collector is behind.", key: (c) => c.key,
    columns: [
      { head: "Key", fill: key },
      { head: "Worker", show: (c) => String(c.worker ?? NONE) },
      { head: "State", show: (c) => (c.blocked ? { text: "blocked", title: "its socket is full", icon: "attention", tone: "warn" } : { text: "receiving", icon: "busy" }) },
      { head: "Behind", number: true, show: (c) => bytes(c.lag) },
      { head: "Time behind", number: true, hint: "Age of the next frame that it is to get", show: (c) => duration(c.seconds) },
    ],
  });
  return ({ status }) => table.update(list(status.clients?.slowest));
}

function key(cell, client) {
  let button = cell.firstElementChild;
  if (!button) {
    button = element("button", { type: "button", class: "key" });
    button.addEventListener("click", () => copy(button));
    cell.append(button);
  }
  if (button.classList.contains("copied")) return;
  setText(button, shortKey(client.key));
  button.dataset.full = client.key ?? "";
  setAttribute(button, "title", `${client.key}\n(press to copy)`);
  setAttribute(button, "aria-label", `Copy the key ${client.key}`);
}

async function copy(button) {
  const done = await write(button.dataset.full);
  button.textContent = done ? "copied" : "not allowed";
  button.classList.add("copied");
  setTimeout(() => {
    button.classList.remove("copied");
    button.textContent = shortKey(button.dataset.full);
  }, SAID_FOR);
}

// Beyond loopback a page over plain HTTP has no clipboard; the old way works
// there.
async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { class: "unseen", "aria-hidden": "true" });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
