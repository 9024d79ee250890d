// Elements, and lists and tables of them that are kept and changed rather than
// built anew: a status comes every second, and whoever selects a text, hovers
// over a row or is read to should not notice. Text is only ever set as text.

/** A new element; children are nodes or texts. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** One of the icons drawn in index.html. Decoration: words stand beside it. */
export function icon(name) {
  return document.getElementById(`icon-${name}`).content.firstElementChild.cloneNode(true);
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === "" || value === undefined || value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/**
 * Sets what a place says: a text, or {text, title, icon, tone}. The title is
 * the exact or longer form, the tone a colour that goes with icon and words.
 */
export function say(node, what) {
  const { text, title = "", icon: shape = "", tone = "" } = typeof what === "object" ? what : { text: what };
  if ((node.dataset.icon ?? "") !== shape || node.childElementCount !== (shape ? 2 : 0)) {
    node.replaceChildren(...(shape ? [icon(shape), element("span")] : []));
    node.dataset.icon = shape;
  }
  setText(shape ? node.lastElementChild : node, text);
  setAttribute(node, "title", title);
  setAttribute(node, "data-tone", tone);
}

/** Makes the children of `parent` those of `items`, in their order; create(item) → element, update(element, item). */
export function reconcile(parent, items, key, create, update) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const wanted = new Set(items.map((item) => String(key(item))));
  const old = new Map();
  for (const child of [...parent.children]) {
    const name = child.dataset.key;
    if (wanted.has(name) && !old.has(name)) old.set(name, child);
    else child.remove();
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = old.get(name);
    old.delete(name); // a second item of the same key gets an element of its own
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true }); // moving blurs
}

/**
 * A table in `place`. Columns are {head, show(row)} with what say() takes, and
 * optionally number (right-aligned), hint, value(row) to sort by, and
 * fill(cell, row) instead of show. The first column names the row. Roles are
 * spelled out because narrow screens show rows as cards (display: grid), which
 * would take the table's meaning away.
 */
export class Table {
  #columns;
  #key;
  #rows = [];
  #order = null; // {column, down}; null: as the distributor ordered them
  #head;
  #body = element("tbody", { role: "rowgroup" });
  #table;
  #empty;

  constructor(place, { label, columns, key, empty }) {
    this.#columns = columns;
    this.#key = key;
    this.#head = element("tr", { role: "row" }, ...columns.map((column) => this.#headCell(column)));
    this.#table = element("table", { role: "table", "aria-label": label }, element("thead", { role: "rowgroup" }, this.#head), this.#body);
    this.#empty = element("p", { class: "empty" }, empty);
    place.append(this.#table, this.#empty);
  }

  update(rows) {
    this.#rows = rows;
    this.#table.hidden = rows.length === 0;
    this.#empty.hidden = rows.length !== 0;
    reconcile(this.#body, this.#sorted(), this.#key, () => this.#row(), (line, row) => {
      this.#columns.forEach((column, i) => {
        if (column.fill) column.fill(line.cells[i], row);
        else say(line.cells[i].firstElementChild, column.show(row));
      });
    });
  }

  #row() {
    return element("tr", { role: "row" }, ...this.#columns.map((column, i) => {
      const attributes = { role: i === 0 ? "rowheader" : "cell", "data-label": column.head };
      if (i === 0) attributes.scope = "row";
      if (column.number) attributes.class = "number";
      return element(i === 0 ? "th" : "td", attributes, ...(column.fill ? [] : [element("span", { class: "value" })]));
    }));
  }

  #headCell(column) {
    const cell = element("th", { role: "columnheader", scope: "col" });
    if (column.number) cell.className = "number";
    setAttribute(cell, "title", column.hint);
    if (!column.value) {
      cell.append(column.head);
      return cell;
    }
    const button = element("button", { type: "button" }, column.head);
    button.addEventListener("click", () => this.#sortBy(column, cell));
    cell.append(button);
    return cell;
  }

  // Greatest first, then smallest first, then as it was.
  #sortBy(column, cell) {
    if (this.#order?.column !== column) this.#order = { column, down: true };
    else this.#order = this.#order.down ? { column, down: false } : null;
    for (const other of this.#head.cells) other.removeAttribute("aria-sort");
    if (this.#order) cell.setAttribute("aria-sort", this.#order.down ? "descending" : "ascending");
    this.update(this.#rows);
  }

  #sorted() {
    if (!this.#order) return this.#rows;
    const { column, down } = this.#order;
    const value = (row) => column.value(row) ?? -1; // unknown counts as least
    return this.#rows.toSorted((a, b) => {
      const [m, n] = down ? [value(b), value(a)] : [value(a), value(b)];
      return m < n ? -1 : m > n ? 1 : 0;
    });
  }
}
