// Where a packet would go, as the hub decides it, step by step; and the routes themselves.

import { get } from './api.js';
import { el, field, put, text } from './dom.js';
import { NOBODY, number, tenant } from './format.js';
import { hosts } from './store.js';
import { Table } from './table.js';
import { tenants } from './tenants.js';

const PAGE = 100;
const TYPED = 250; // milliseconds after the last key until the hub is asked

function gateways(row) {
  return row.gateways.map((one) => el(`span.gateway.${one.carries ? 'carries' : one.live ? 'live' : 'gone'}`,
    { title: `${one.host}: ${one.source}, metric ${one.metric}; ${one.carries ? 'carries packets now' : one.live ? 'connected, stands by' : 'not connected'}` },
    one.host, one.metric ? el('small', null, ` ${one.metric}`) : null));
}

const COLUMNS = [
  { name: 'prefix', title: 'Prefix', whole: true, show: (row) => row.prefix },
  { name: 'gateways', title: 'Through', show: gateways, stamp: (row) => JSON.stringify(row.gateways) },
  { name: 'tenant', title: 'Tenant', whole: true, show: (row) => tenant(row.ns, hosts.namespaces) },
  { name: 'table', title: 'Table', whole: true, show: (row) => (row.ns !== NOBODY && row.table?.toLowerCase() === row.ns ? "the tenant's" : row.table || '–') },
  { name: 'source', title: 'From', whole: true, show: (row) => [...new Set(row.gateways.map((one) => one.source))].join(', ') },
];

function explainer() {
  const from = el('input', { name: 'from', list: 'hostnames', required: true, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', placeholder: 'host-1' });
  const names = el('datalist', { id: 'hostnames' });
  const to = el('input', { name: 'to', required: true, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', placeholder: '10.1.2.3' });
  const port = el('input', { name: 'port', autocomplete: 'off', placeholder: 'a ping', pattern: '(tcp|udp)/[0-9]+', title: 'tcp/22, or nothing for a ping' });
  const choice = tenants({ all: false }), ns = choice.node;
  const result = el('div.explained', { role: 'status' });
  const form = el('form.explain', { 'aria-labelledby': 'where' },
    field('From host', from), field('To address', to), field('Protocol', port), field('Tenant', ns),
    el('button.primary', null, 'Explain'), names);
  from.addEventListener('input', () => {
    const typed = from.value.toLowerCase();
    const fit = [...hosts.rows.values()].filter((row) => (!ns.value || row.ns === ns.value) && row.host.toLowerCase().includes(typed)).slice(0, 20);
    put(names, fit.map((row) => el('option', { value: row.host })));
    const same = [...hosts.rows.values()].find((row) => row.host === from.value);
    if (same && !ns.dataset.chosen) ns.value = same.ns;
  });
  ns.addEventListener('change', () => { ns.dataset.chosen = '1'; });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    put(result, el('p.note', null, 'Asking the hub …'));
    try {
      const told = await get('/x/explain', { from: from.value.trim(), to: to.value.trim(), port: port.value.trim(), ns: ns.value });
      put(result, steps(told));
    } catch (error) {
      put(result, el('p.wrong', null, `${error.message} ${error.hint ?? ''}`));
    }
  });
  return { node: el('section.card', { 'aria-labelledby': 'where' }, el('h2', { id: 'where' }, 'Where would this packet go?'), form, result), end: choice.end };
}

function steps(told) {
  const lines = told.lines.map(([subject, what]) => el('li', null, el('b', null, subject), el('span', null, what.replace(NOBODY, 'default'))));
  return [
    el('ol.steps', null, lines),
    el(`p.verdict${told.delivered ? '.good' : '.bad'}`, null, told.delivered ? 'It would be delivered.' : 'It would not be delivered.'),
  ];
}

/** Show the view. */
export function view(main, { query }) {
  const explain = explainer();
  const search = el('input', { type: 'search', placeholder: 'Prefix, address or gateway …', 'aria-label': 'Search routes', value: query.get('q') ?? '' });
  const count = el('span.count', { role: 'status' });
  const table = new Table({ label: 'Routes', columns: COLUMNS, key: (row) => row.at, onEnd: () => more(), sort: { name: '', down: false } });
  put(main, el('div.head', null, el('h1', null, 'Routes')), explain.node,
    el('section', { 'aria-labelledby': 'all' },
      el('div.tools', { role: 'search' }, el('h2', { id: 'all' }, 'All routes'), search, count), table.node));
  const state = { rows: [], next: null, busy: false, turn: 0, timer: 0, cut: null };

  async function ask(after) {
    const turn = state.turn;
    state.busy = true;
    state.cut?.abort();
    state.cut = new AbortController();
    try {
      const told = await get('/x/routes', { q: search.value.trim(), limit: PAGE, after }, state.cut.signal);
      if (turn !== state.turn) return;
      for (const row of told.rows) state.rows.push({ ...row, at: state.rows.length });
      state.next = told.next;
      text(count, told.matching === null || told.matching === told.total ? `${number(told.total)} routes` : `${number(told.matching)} of ${number(told.total)} routes`);
      state.busy = false;
      table.set(state.rows, 'No route fits.');
    } catch (error) {
      if (turn !== state.turn) return;
      state.busy = false;
      state.next = null;
      if (error.name === 'AbortError') return;
      table.set(state.rows, `${error.message} ${error.hint ?? ''}`);
    }
  }

  function more() { if (!state.busy && state.next !== null) ask(state.next); }

  function anew() {
    state.turn += 1;
    state.rows = [];
    state.next = null;
    table.scroller.scrollTop = 0;
    ask('');
  }

  search.addEventListener('input', () => { clearTimeout(state.timer); state.timer = setTimeout(anew, TYPED); });
  anew();
  return { end() { state.turn += 1; state.cut?.abort(); clearTimeout(state.timer); explain.end(); table.end(); } };
}
