// The first screen: every host, those with problems on top.

import { el, put, text } from './dom.js';
import { ms, number, rate, size, span } from './format.js';
import { PROBLEMS, chosen, hosts, problemWords, watch, worstFirst } from './store.js';
import { Table } from './table.js';
import { tenants } from './tenants.js';

const kept = { search: '', ns: '', problems: false, sort: { name: '', down: false }, top: 0 };

/** The chips that say what is wrong with a host. */
export function chips(problems) {
  return problems.map((code) => el(`span.chip${PROBLEMS[code]?.bad ? '.bad' : '.warn'}`, null, PROBLEMS[code]?.word ?? code));
}

/** A dot and the name of a host, the tenant below it where the screen is narrow. */
function named(row) {
  return [el(`i.dot.${row.state}`, { role: 'img', 'aria-label': row.state }), el('span.name', { title: row.host }, row.host)];
}

function prefixes(row) {
  return row.prefixes.map((one) => (typeof one === 'number' ? `and ${number(one)} more` : one)).join(', ') || row.address || '–';
}

const COLUMNS = [
  { name: 'host', title: 'Host', show: named, stamp: (row) => `${row.state} ${row.host}`, key: (row) => row.host },
  { name: 'tenant', title: 'Tenant', whole: true, show: (row) => row.tenant, key: (row) => row.tenant },
  { name: 'state', title: 'What is wrong', show: (row) => (row.problems.length ? el('span', { title: problemWords(row) }, chips(row.problems)) : el('span.fine', null, row.state === 'up' ? 'up' : row.state)), stamp: (row) => `${row.state} ${row.problems}`, key: (row) => row.rank, down: true },
  { name: 'in', title: 'In', about: 'From the host to the hub', number: true, show: (row) => rate(row.in), key: (row) => row.in, down: true },
  { name: 'out', title: 'Out', about: 'From the hub to the host', number: true, show: (row) => rate(row.out), key: (row) => row.out, down: true },
  { name: 'rtt', title: 'RTT', about: 'Round trip between the hub and the host', number: true, show: (row) => ms(row.rtt), key: (row) => row.rtt ?? -1, down: true },
  { name: 'queue', title: 'Queue', about: 'What waits in the hub for the host', number: true, show: (row) => size(row.queue), key: (row) => row.queue, down: true },
  { name: 'drops', title: 'Drops', about: 'Packets of the host, and for it, that were dropped', number: true, show: (row) => (row.drops ? number(row.drops) : '–'), key: (row) => row.drops, down: true },
  { name: 'since', title: 'For', about: 'For how long it has been up, or away', number: true, show: (row) => span(hosts.now - row.since), key: (row) => -row.since },
  { name: 'prefixes', title: 'Behind it', about: 'Prefixes whose routes lead to the host', whole: true, show: prefixes, key: prefixes },
];

/** Show the view; ends with end(). */
export function view(main) {
  const search = el('input', { type: 'search', placeholder: 'Name, address, prefix …', 'aria-label': 'Search hosts', value: kept.search });
  const tenant = tenants({ value: kept.ns, counts: true }), ns = tenant.node;
  const all = el('button', { type: 'button' }), bad = el('button', { type: 'button' });
  const order = el('select.order', { 'aria-label': 'Sort by' },
    el('option', { value: '' }, 'Problems first'),
    COLUMNS.map((column) => el('option', { value: column.name }, `By: ${column.title}`)));
  const count = el('span.count', { role: 'status' });
  const table = new Table({
    label: 'Hosts', columns: COLUMNS, sort: { ...kept.sort }, compare: worstFirst,
    link: (row) => `#/host/${row.id}`,
    mark: (row) => (row.problems.some((code) => PROBLEMS[code]?.bad) ? 'bad' : row.problems.length ? 'warn' : ''),
  });
  table.onSort = (sort) => { kept.sort = sort; order.value = sort.name; };

  put(main,
    el('div.head', null, el('h1', null, 'Hosts'), count),
    el('div.tools', { role: 'search' }, search, ns, el('div.either', { role: 'group', 'aria-label': 'Which hosts' }, all, bad), order),
    table.node);

  function show() {
    if (!hosts.ready) { text(count, ''); return; }
    const fitting = chosen({ search: kept.search, ns: kept.ns });
    const wrong = fitting.filter((row) => row.problems.length);
    text(all, `All ${number(fitting.length)}`);
    text(bad, `Problems ${number(wrong.length)}`);
    all.setAttribute('aria-pressed', String(!kept.problems));
    bad.setAttribute('aria-pressed', String(kept.problems));
    text(count, hosts.more ? `the first ${number(hosts.rows.size)}; ${number(hosts.more)} more are not shown` : '');
    const note = kept.search || kept.ns ? 'No host fits this search.' : kept.problems ? 'No host has a problem.' : 'No host has come yet. `tunrouter invite NAME` lets one in.';
    table.set(kept.problems ? wrong : fitting, note);
  }

  search.addEventListener('input', () => { kept.search = search.value; table.moved = -Infinity; show(); });
  ns.addEventListener('change', () => { kept.ns = ns.value; table.moved = -Infinity; show(); });
  all.addEventListener('click', () => { kept.problems = false; show(); });
  bad.addEventListener('click', () => { kept.problems = true; show(); });
  order.addEventListener('change', () => {
    const column = COLUMNS.find((one) => one.name === order.value);
    table.order(order.value, Boolean(column?.down));
  });
  order.value = kept.sort.name;
  show();
  requestAnimationFrame(() => { table.scroller.scrollTop = kept.top; });
  const unwatch = watch(show);
  return { end() { kept.top = table.scroller.scrollTop; unwatch(); tenant.end(); table.end(); } };
}
