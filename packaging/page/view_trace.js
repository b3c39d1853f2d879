// A live trace: packets that fit a filter, one line each, with what became of them.

import { events } from './api.js';
import { el, field, put, text } from './dom.js';
import { clock, number } from './format.js';
import { Table } from './table.js';

const MOST = 2000; // lines that are kept

const COLUMNS = [
  { name: 'time', title: 'Time', show: (row) => row.time },
  { name: 'fate', title: 'Fate', show: (row) => el(`span.chip.${row.fate === 'forwarded' ? 'good' : 'bad'}`, null, row.fate === 'answered' ? 'dropped, told' : row.fate), stamp: (row) => row.fate },
  { name: 'from', title: 'From', whole: true, show: (row) => row.from || '–' },
  { name: 'to', title: 'To', whole: true, show: (row) => row.to || '–' },
  { name: 'packet', title: 'Packet', whole: true, show: (row) => row.packet },
  { name: 'way', title: 'Why, or which way', whole: true, show: (row) => row.reason || row.way || '–' },
];

/** Show the view. */
export function view(main, { query }) {
  const filter = el('input', { name: 'filter', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', placeholder: 'all, or: dropped and tcp', value: query.get('filter') ?? '' });
  const host = el('input', { name: 'host', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', placeholder: 'every host', value: query.get('host') ?? '' });
  const button = el('button.primary', null, 'Start');
  const wrong = el('p.wrong', { role: 'alert' });
  const count = el('span.count', { role: 'status' });
  const form = el('form.explain', { 'aria-label': 'What to trace' }, field('Filter', filter), field('Host', host), button);
  const table = new Table({ label: 'Packets, the latest first', columns: COLUMNS, key: (row) => row.at, sort: { name: '', down: false } });
  put(main, el('div.head', null, el('h1', null, 'Trace'), count), el('section.card', null, form, wrong), table.node);
  const state = { cut: null, rows: [], seen: 0, skipped: 0, ended: false };
  const said = () => text(count, state.seen ? `${number(state.seen)} packet${state.seen === 1 ? '' : 's'}${state.skipped ? `, ${number(state.skipped)} more were not shown` : ''}` : '');

  function idle() {
    state.cut = null;
    text(button, 'Start');
  }

  async function run() {
    const cut = state.cut = new AbortController();
    Object.assign(state, { rows: [], seen: 0, skipped: 0 });
    text(button, 'Stop');
    put(wrong);
    table.set([], 'Waiting for packets …');
    said();
    try {
      for await (const { event, data } of events('/x/trace', { filter: filter.value.trim(), host: host.value.trim() }, cut.signal)) {
        if (event === 'packets') {
          const fresh = data.packets.map(([unix, fate, from, to, way, reason, packet]) => ({ at: ++state.seen, time: clock(unix), fate, from, to, way, reason, packet }));
          state.rows = [...fresh.reverse(), ...state.rows].slice(0, MOST);
          table.set(state.rows);
        } else if (event === 'skipped') state.skipped += data.count;
        said();
      }
      if (!state.ended) put(wrong, 'The hub has ended the trace.');
    } catch (error) {
      if (error.name !== 'AbortError') put(wrong, `${error.message} ${error.hint ?? ''}`);
    }
    if (state.cut === cut) idle();
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (state.cut) { state.cut.abort(); idle(); } else run();
  });
  const leave = () => state.cut?.abort();
  window.addEventListener('pagehide', leave);
  table.set([], 'Nothing is traced yet. A trace costs the hub some time for each packet that fits.');
  return { end() { state.ended = true; leave(); window.removeEventListener('pagehide', leave); table.end(); } };
}
