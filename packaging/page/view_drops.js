// Dropped packets and refused clients, by reason, each with what to do about it.

import { get } from './api.js';
import { el, put, spoken } from './dom.js';
import { number, span, tenant } from './format.js';
import { hosts } from './store.js';
import { tenants } from './tenants.js';

const EVERY = 5000;
const ENDED = '(ended)'; // stands for all hosts that are gone

function byReason(rows) {
  const found = new Map();
  for (const row of rows) {
    const one = found.get(row.reason) ?? found.set(row.reason, { ...row, count: 0, hosts: [], last: null }).get(row.reason);
    one.count += row.count;
    one.hosts.push(row);
    if (row.last && (!one.last || row.last.ago_s < one.last.ago_s)) one.last = { ...row.last, host: row.host };
  }
  return [...found.values()].sort((one, other) => (one.last?.ago_s ?? 1e9) > 60 === (other.last?.ago_s ?? 1e9) > 60 ? other.count - one.count : (one.last?.ago_s ?? 1e9) - (other.last?.ago_s ?? 1e9));
}

function card(one, most, kind) {
  const now = one.last && one.last.ago_s < 60;
  const meter = el('span.meter', { 'aria-hidden': 'true' });
  const bar = el('i');
  bar.style.width = `${Math.max(2, Math.round((100 * one.count) / most))}%`;
  meter.append(bar);
  return el(`li.card.drop${now ? '.now' : ''}`, null,
    el('div.line', null, el('h3', null, one.reason), meter, el('b.num', null, number(one.count), el('small', null, ` ${kind === 'refused' ? 'time' : 'packet'}${one.count === 1 ? '' : 's'}`))),
    el('p', null, one.about),
    el('p.remedy', null, el('b', null, 'What to do: '), spoken(one.remedy)),
    one.last ? el('p.when', null, `Last ${span(one.last.ago_s)} ago: `, el('code', null, kind === 'refused' ? `${one.last.peer} ${one.last.why}` : one.last.packet)) : null,
    kind === 'refused' ? null : el('p.whose', null, one.hosts.sort((a, b) => b.count - a.count).slice(0, 6).map((row) => [
      el('span.gateway', null, row.host === ENDED ? 'hosts that are gone' : row.host, el('small', null, ` ${number(row.count)}`))]),
    one.hosts.length > 6 ? `and ${number(one.hosts.length - 6)} more` : null));
}

/** Show the view. */
export function view(main) {
  const choice = tenants(), ns = choice.node;
  const list = el('div.all-drops');
  put(main, el('div.head', null, el('h1', null, 'Drops')), el('div.tools', null, ns), list);
  const cut = new AbortController();
  let shown = '';

  async function ask() {
    let told;
    try {
      told = await get('/x/drops', { ns: ns.value }, cut.signal);
    } catch (error) {
      if (error.name !== 'AbortError') put(list, el('p.note', null, `${error.message} ${error.hint ?? ''}`));
      shown = '';
      return;
    }
    const stamp = JSON.stringify(told);
    if (stamp === shown || list.contains(document.getSelection()?.anchorNode ?? null) && document.getSelection().toString()) return;
    shown = stamp;
    const reasons = byReason(told.drops), refusals = byReason(told.refusals ?? []);
    const most = Math.max(1, ...reasons.map((one) => one.count)), mostRefused = Math.max(1, ...refusals.map((one) => one.count));
    put(list,
      section('packets', 'Dropped packets', reasons.map((one) => card(one, most, 'dropped')), 'Nothing was dropped.'),
      told.destinations.length ? el('section', { 'aria-labelledby': 'destinations' }, el('h2', { id: 'destinations' }, 'Where they were going'), destinations(told.destinations)) : null,
      told.refusals ? section('clients', 'Refused clients', refusals.map((one) => card(one, mostRefused, 'refused')), 'No client was refused.') : null,
      told.more ? el('p.note', null, `${number(told.more)} more rows are not shown.`) : null);
  }

  ns.addEventListener('change', ask);
  ask();
  const timer = setInterval(() => { if (!document.hidden) ask(); }, EVERY);
  return { end() { cut.abort(); clearInterval(timer); choice.end(); } };
}

function section(id, title, cards, none) {
  return el('section', { 'aria-labelledby': id }, el('h2', { id }, title), cards.length ? el('ul.cards', null, cards) : el('p.note', null, none));
}

function destinations(rows) {
  return el('div.wide', { tabindex: 0, role: 'region', 'aria-labelledby': 'destinations' }, el('table', null,
    el('thead', null, el('tr', null, ['Destination', 'Tenant', 'Why', 'Last'].map((title) => el('th', { scope: 'col' }, title)))),
    el('tbody', null, rows.map((row) => el('tr', null,
      el('td.mono', null, row.destination),
      el('td', null, tenant(row.namespace, hosts.namespaces)),
      el('td', null, Object.entries(row.reasons).map(([reason, count]) => `${number(count)} ${reason}`).join(', ')),
      el('td', null, `${span(row.last_s)} ago`))))));
}
