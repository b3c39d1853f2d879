// A table of any length: only the rows in sight are elements. Sorted by a click on a column's title, moved
// through by the arrow keys, read by a screen reader as a table with all its rows.

import { el, put, spoken } from './dom.js';
import { byName } from './format.js';

const SPARE = 6; // rows above and below what is in sight
const HELD = 2500; // milliseconds for which rows stay in place under a moving pointer

/**
 * A column: {name, title, about, show(row) -> text or node, key(row) -> what it is sorted by, number, down, whole}.
 * `about` explains the title; `whole` tells the whole text to who points at it, as it may be cut off.
 * `link(row)` is the address that a row leads to; `mark(row)` a class of the row.
 */
export class Table {
  constructor({ label, columns, link, mark, sort, onEnd, key = (row) => row.id, compare }) {
    Object.assign(this, { columns, link, mark, onEnd, key, compare });
    this.sort = sort ?? { name: '', down: false };
    this.rows = [];
    this.shown = new Map(); // key -> {node, cells, row}
    this.moved = -Infinity;
    this.head = el('div.tr', { role: 'row' }, columns.map((column) => this.#title(column)));
    this.body = el('div.rows', { role: 'rowgroup' });
    this.scroller = el('div.scroll', { tabindex: 0, role: 'table', 'aria-label': label },
      el('div.thead', { role: 'rowgroup' }, this.head), this.body);
    this.empty = el('p.note', { hidden: true });
    this.node = el('div.table', null, this.scroller, this.empty);
    this.scroller.addEventListener('scroll', () => this.#later(), { passive: true });
    this.scroller.addEventListener('pointermove', () => { this.moved = performance.now(); }, { passive: true });
    this.scroller.addEventListener('keydown', (event) => this.#key(event));
    this.watcher = new ResizeObserver(() => this.#measure());
    this.watcher.observe(this.scroller);
    this.#mark();
  }

  end() { this.watcher.disconnect(); }

  #title(column) {
    const inner = column.key
      ? el('button', { type: 'button', title: column.about, onclick: () => this.order(column.name) }, column.title)
      : el('span', { title: column.about }, column.title);
    column.head = el(`div.c-${column.name}${column.number ? '.num' : ''}`, { role: 'columnheader' }, inner);
    return column.head;
  }

  /** Sort by a column; by the same one again the other way round. */
  order(name, down) {
    const column = this.columns.find((one) => one.name === name);
    const same = this.sort.name === name;
    this.sort = { name, down: down ?? (same ? !this.sort.down : Boolean(column?.down)) };
    this.moved = -Infinity;
    this.#mark();
    this.set(this.rows);
    this.onSort?.(this.sort);
  }

  #mark() {
    for (const column of this.columns) {
      if (!column.key) continue;
      const here = column.name === this.sort.name;
      column.head.setAttribute('aria-sort', here ? (this.sort.down ? 'descending' : 'ascending') : 'none');
    }
  }

  /** Show these rows; `note` is said where there are none. */
  set(rows, note = '') {
    const column = this.columns.find((one) => one.name === this.sort.name);
    const still = (column || this.compare) && performance.now() - this.moved < HELD && this.rows.length === rows.length && this.place;
    if (still) rows.sort((one, other) => (this.place.get(this.key(one)) ?? 1e9) - (this.place.get(this.key(other)) ?? 1e9));
    else if (column) {
      const way = this.sort.down ? -1 : 1;
      const keys = new Map(rows.map((row) => [row, column.key(row)]));
      rows.sort((one, other) => {
        const a = keys.get(one), b = keys.get(other);
        const found = typeof a === 'string' ? byName(a, b) : (a ?? -1) - (b ?? -1);
        return found * way || this.compare?.(one, other) || 0;
      });
    } else if (this.compare) rows.sort(this.compare);
    this.rows = rows;
    this.place = new Map(rows.map((row, at) => [this.key(row), at]));
    this.empty.hidden = rows.length > 0;
    if (this.note !== note) put(this.empty, spoken(this.note = note));
    this.scroller.setAttribute('aria-rowcount', String(rows.length + 1));
    this.#draw();
  }

  #measure() {
    this.height = this.scroller.clientHeight;
    this.step = parseFloat(getComputedStyle(this.scroller).getPropertyValue('--row')) || 36;
    this.headHeight = this.head.offsetHeight;
    this.#draw();
  }

  #later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.#draw(); });
  }

  #draw() {
    if (!this.height) return;
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / this.step) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((top + this.height) / this.step) + SPARE);
    const total = `${this.rows.length * this.step}px`;
    if (this.body.style.height !== total) this.body.style.height = total;
    const kept = new Set();
    for (let at = first; at < last; at += 1) kept.add(this.key(this.rows[at]));
    const spare = [];
    for (const [key, drawn] of this.shown) {
      if (kept.has(key) || drawn.node.contains(document.activeElement)) continue;
      this.shown.delete(key);
      spare.push(drawn);
    }
    for (let at = first; at < last; at += 1) this.#row(this.rows[at], at, spare);
    for (const drawn of spare) drawn.node.remove();
    for (const [key, drawn] of this.shown) { // a row out of sight that has the focus moves with the others
      if (kept.has(key)) continue;
      const at = this.place.get(key);
      if (at === undefined) { this.shown.delete(key); drawn.node.remove(); } else this.#row(this.rows[at], at, []);
    }
    if (last >= this.rows.length) this.onEnd?.();
  }

  #row(row, at, spare) {
    const key = this.key(row);
    let drawn = this.shown.get(key);
    if (!drawn) {
      drawn = spare.pop() ?? this.#made();
      this.shown.set(key, drawn);
      if (!drawn.node.isConnected) this.body.append(drawn.node);
    }
    const { node, cells } = drawn;
    if (drawn.at !== at || drawn.step !== this.step) {
      node.style.transform = `translateY(${at * this.step}px)`;
      node.setAttribute('aria-rowindex', String(at + 2));
      node.classList.toggle('odd', at % 2 === 1);
      drawn.at = at;
      drawn.step = this.step;
    }
    const mark = this.mark?.(row) ?? '';
    if (drawn.mark !== mark) {
      if (drawn.mark) node.classList.remove(drawn.mark);
      if (mark) node.classList.add(mark);
      drawn.mark = mark;
    }
    this.columns.forEach((column, index) => {
      const value = column.show(row);
      const cell = cells[index];
      if (value instanceof Node || Array.isArray(value)) {
        const stamp = column.stamp?.(row);
        if (stamp === undefined || cell.stamp !== stamp) { put(cell.node, value); cell.stamp = stamp ?? null; cell.text = null; }
      } else if (cell.text !== value) {
        cell.node.textContent = value;
        if (column.whole) cell.node.title = value;
        cell.text = value;
        cell.stamp = null;
      }
      if (cell.link) cell.link.setAttribute('href', this.link(row));
    });
    drawn.row = row;
  }

  #made() {
    const cells = this.columns.map((column, index) => {
      const link = this.link && index === 0 ? el('a') : null;
      const cell = el(`div.c-${column.name}${column.number ? '.num' : ''}`, { role: 'cell' }, link);
      return { cell, node: link ?? cell, link, text: null, stamp: null };
    });
    return { node: el('div.tr', { role: 'row' }, cells.map((one) => one.cell)), cells, at: -1, mark: '' };
  }

  #key(event) {
    const page = Math.max(1, Math.floor(this.height / this.step) - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || !this.rows.length || !this.link) return;
    event.preventDefault();
    const here = [...this.shown.values()].find((drawn) => drawn.node.contains(document.activeElement));
    const from = here ? this.place.get(this.key(here.row)) ?? 0 : Math.floor(this.scroller.scrollTop / this.step) - (step > 0 ? 1 : 0);
    const at = Math.max(0, Math.min(this.rows.length - 1, from + step));
    const top = at * this.step, seen = this.height - this.headHeight;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top + this.step > this.scroller.scrollTop + seen) this.scroller.scrollTop = top + this.step - seen;
    this.#draw();
    this.shown.get(this.key(this.rows[at]))?.cells[0].link?.focus({ preventScroll: true });
  }
}
