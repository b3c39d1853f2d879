// Curves of the last hour, drawn by uPlot (in the folder uplot, with its licence).

import { el, put } from './dom.js';
import uPlot from './uplot/uPlot.esm.js';

const HEIGHT = 132;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * One picture: a title and lines [{name, colour: a CSS variable}]; `show` makes text of a value. Where all values
 * are zero it reaches to `least`; where there are none it says `none` instead.
 */
export class Curves {
  constructor(title, lines, show, least, none = 'No figures yet.') {
    Object.assign(this, { title, lines, show, least, none });
    this.value = el('span.now');
    this.box = el('div.plot', { role: 'img', 'aria-label': title });
    this.node = el('figure.card.curve', null,
      el('figcaption', null, el('b', null, title), lines.length > 1 ? lines.map((line) => el(`span.key.${line.name}`, null, el('i.line'), line.name)) : null, this.value),
      this.box);
    this.watcher = new ResizeObserver(() => this.plot?.setSize({ width: this.box.clientWidth, height: HEIGHT }));
    this.watcher.observe(this.box);
    this.theme = matchMedia('(prefers-color-scheme: dark)');
    this.again = () => { this.plot?.destroy(); this.plot = null; if (this.data) this.set(this.data); };
    this.theme.addEventListener('change', this.again);
  }

  #made(data) {
    const axis = { stroke: colour('--muted'), font: '11px system-ui, sans-serif', grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    const two = (value) => String(value).padStart(2, '0');
    return new uPlot({
      width: this.box.clientWidth, height: HEIGHT, padding: [8, 4, 0, 0], legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      scales: { y: { range: (plot, low, high) => [0, high > 0 ? high * 1.12 : this.least] } },
      axes: [
        { ...axis, size: 28, gap: 7, space: 70, values: (plot, splits, axis, space, step) => splits.map((unix) => { const at = new Date(unix * 1000); return `${two(at.getHours())}:${two(at.getMinutes())}${step < 60 ? ':' + two(at.getSeconds()) : ''}`; }) },
        { ...axis, size: 58, gap: 4, space: 34, values: (plot, splits) => splits.map((value) => (value ? this.show(value) : '0')) },
      ],
      series: [{}, ...this.lines.map((line) => ({ label: line.name, stroke: colour(line.colour), width: 1.5, fill: colour(line.colour) + '1f', points: { show: false }, spanGaps: false }))],
      hooks: { setCursor: [(plot) => this.#under(plot.cursor.idx)] },
    }, data, this.box);
  }

  #under(at) {
    if (!this.data) return;
    const last = this.data[0].length - 1, here = at ?? last;
    const values = this.data.slice(1).map((points) => points[here]);
    const said = values.map((value, index) => (this.lines.length > 1 ? `${this.lines[index].name} ` : '') + (value === null || value === undefined ? '–' : this.show(value))).join(', ');
    const when = at === null || at === undefined ? 'now' : new Date(this.data[0][at] * 1000).toLocaleTimeString('en-GB');
    this.value.textContent = last < 0 ? '' : `${when}: ${said}`;
    this.box.setAttribute('aria-label', `${this.title} over the last hour; now ${said}`);
  }

  /** Show [times, values of the first line, …]; a null is a gap. */
  set(data) {
    this.data = data;
    if (!this.box.clientWidth) return;
    if (!data.slice(1).some((points) => points.some((value) => value !== null))) {
      this.plot?.destroy();
      this.plot = null;
      put(this.box, el('p.note', null, this.none));
      this.value.textContent = '';
      this.box.setAttribute('aria-label', `${this.title}: ${this.none}`);
      return;
    }
    if (this.plot) this.plot.setData(data);
    else { put(this.box); this.plot = this.#made(data); }
    this.#under(this.plot.cursor.idx);
  }

  end() {
    this.watcher.disconnect();
    this.theme.removeEventListener('change', this.again);
    this.plot?.destroy();
  }
}
