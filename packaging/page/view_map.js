// The map: the hub in the middle, tenants or hosts at both sides, what is behind them, rates on the links.

import { el, put, svg, text } from './dom.js';
import { byName, number, rate, shortRate, tenant } from './format.js';
import { PROBLEMS, chosen, hosts, problemWords, watch } from './store.js';
import { tenants } from './tenants.js';

const MOST = 40; // hosts that are drawn; of more, those with problems and the busiest
const SETTLED = 10000; // milliseconds for which the same hosts stay on the map
const ROW = 46, TALL = 60; // a link's height; that of one with its rates below its name
const STRAIGHT = 104;

function busiest(rows) {
  return [...rows].sort((one, other) => Math.sign(other.rank) - Math.sign(one.rank) || other.in + other.out - one.in - one.out || byName(one.host, other.host));
}

function asHosts(rows) {
  const drawn = busiest(rows).slice(0, MOST).sort((one, other) => byName(one.tenant, other.tenant) || byName(one.host, other.host));
  return drawn.map((row) => ({
    key: `h${row.id}`, href: `#/host/${row.id}`, name: row.host, in: row.in, out: row.out, away: row.state === 'away',
    bad: row.problems.some((code) => PROBLEMS[code]?.bad), warn: row.problems.length > 0,
    behind: behind(row),
  }));
}

function behind(row) {
  if (row.problems.length) return problemWords(row);
  const told = row.prefixes.slice(0, 2).filter((one) => typeof one === 'string');
  const more = row.prefixes.reduce((sum, one) => sum + (typeof one === 'number' ? one : 1), 0) - told.length;
  return told.length ? told.join(', ') + (more > 0 ? ` +${number(more)}` : '') : row.address;
}

function asTenants(rows) {
  const found = new Map();
  for (const row of rows) {
    const one = found.get(row.ns) ?? found.set(row.ns, { key: `t${row.ns}`, href: `#/map?ns=${row.ns}`, name: tenant(row.ns, hosts.namespaces), in: 0, out: 0, hosts: 0, wrong: 0, away: false }).get(row.ns);
    one.in += row.in;
    one.out += row.out;
    one.hosts += 1;
    one.wrong += row.problems.length ? 1 : 0;
    one.bad ||= row.problems.some((code) => PROBLEMS[code]?.bad);
  }
  const sorted = [...found.values()].sort((one, other) => other.in + other.out - one.in - one.out).slice(0, MOST);
  sorted.sort((one, other) => byName(one.name, other.name));
  return sorted.map((one) => ({ ...one, warn: one.wrong > 0, behind: `${number(one.hosts)} hosts${one.wrong ? `, ${number(one.wrong)} with problems` : ''}` }));
}

const shortRates = (node) => `↑${shortRate(node.in)} ↓${shortRate(node.out)}`;
const longRates = (node) => (node.in + node.out >= 1 ? `↑ ${rate(node.in)}  ↓ ${rate(node.out)}` : 'idle');

function width(bytes) {
  return bytes ? Math.min(7, 1 + Math.max(0, Math.log10(bytes) - 3) ** 1.35 * 0.75) : 1;
}

/** Show the view. */
export function view(main, { me, query }) {
  const state = { ns: query.get('ns') ?? '', search: query.get('q') ?? '', keys: '', settled: 0, ids: null };
  const search = el('input', { type: 'search', placeholder: 'Hosts, addresses, prefixes …', 'aria-label': 'Search the map', value: state.search });
  const choice = tenants({ value: state.ns }), ns = choice.node;
  const picture = el('div.picture', { tabindex: 0, role: 'region', 'aria-label': 'Map of the hub and its hosts' });
  const told = el('p.note', { role: 'status' });
  put(main,
    el('div.head', null, el('h1', null, 'Map')),
    el('div.tools', { role: 'search' }, search, ns, el('span.key', null, el('i.line'), '↑ to the hub, ↓ from it, in bit/s; the thicker, the more')),
    told, picture);
  let drawn = new Map();

  function nodes() {
    const rows = chosen({ search: state.search, ns: state.ns });
    const several = new Set(rows.map((row) => row.ns)).size > 1;
    if (several && !state.search && rows.length > MOST) {
      text(told, 'Each tenant is one link. Follow one, or search, to see its hosts.');
      return asTenants(rows);
    }
    const now = performance.now(), fitting = new Set(rows.map((row) => row.id));
    const gone = state.ids?.some((id) => !fitting.has(id)) || state.ids?.length < Math.min(MOST, rows.length);
    if (!state.ids || gone || now - state.settled > SETTLED) {
      state.ids = busiest(rows).slice(0, MOST).map((row) => row.id);
      state.settled = now;
    }
    const shown = state.ids.map((id) => hosts.rows.get(id)).filter(Boolean);
    text(told, !rows.length ? (hosts.ready ? 'No host fits.' : 'Asking the hub …') : rows.length > shown.length
      ? `${number(shown.length)} of ${number(rows.length)} hosts: those with problems, then the busiest. Search to see others.` : '');
    return asHosts(shown);
  }

  function place(list) {
    const narrow = picture.clientWidth < 720;
    const W = Math.max(320, picture.clientWidth), sides = narrow ? 1 : 2;
    const each = Math.ceil(list.length / sides);
    const least = narrow ? TALL : ROW;
    const step = Math.max(least, Math.min(1.8 * least, (picture.clientHeight - 24) / Math.max(1, each)));
    const H = Math.max(narrow ? 120 : 260, each * step + 24);
    const hub = narrow ? { x: 36, y: H / 2 } : { x: W / 2, y: H / 2 };
    const reach = narrow ? W - 36 - 196 : Math.min(380, W / 2 - 196);
    list.forEach((node, at) => {
      const left = sides === 2 && at >= each;
      const row = left ? at - each : at, of = left ? list.length - each : Math.min(each, list.length);
      node.x = narrow ? hub.x + reach : hub.x + (left ? -reach : reach);
      node.y = H / 2 + (row - (of - 1) / 2) * step;
      node.left = left;
    });
    return { W, H, hub, narrow };
  }

  function draw(list) {
    const { W, H, hub, narrow } = place(list);
    drawn = new Map();
    const links = svg('g.links'), items = svg('g.nodes');
    for (const node of list) {
      const straight = node.x - (narrow ? 14 : STRAIGHT) * (node.left ? -1 : 1); // the rates stand on this piece
      const middle = hub.x + (straight - hub.x) * 0.6;
      const link = svg('path', { d: `M${hub.x} ${hub.y}C${middle} ${hub.y} ${middle} ${node.y} ${straight} ${node.y}H${node.x}` });
      const side = node.left ? -1 : 1, anchor = node.left ? 'end' : 'start';
      const dot = svg('circle', { cx: node.x, cy: node.y, r: 6 });
      const name = svg('text.name', { x: node.x + 13 * side, y: node.y - 2, 'text-anchor': anchor });
      const more = svg('text.behind', { x: node.x + 13 * side, y: node.y + 13, 'text-anchor': anchor });
      const rates = narrow ? svg('text.rates', { x: node.x + 13, y: node.y + 27 })
        : svg('text.rates', { x: node.x - 12 * side, y: node.y - 6, 'text-anchor': node.left ? 'start' : 'end' });
      const title = svg('title');
      const item = svg('a.node', { href: node.href }, title, svg('rect', { x: node.left ? node.x - 185 : node.x - 12, y: node.y - 20, width: 197, height: narrow ? 54 : 40, rx: 6 }), dot, name, more);
      links.append(link);
      if (narrow) item.append(rates);
      else items.append(rates); // below what can be clicked
      items.append(item);
      drawn.set(node.key, { link, item, name, more, rates, title, show: narrow ? longRates : shortRates });
    }
    const centre = svg('g.hub', null,
      svg('circle', { cx: hub.x, cy: hub.y, r: narrow ? 20 : 34 }),
      svg('text', { x: hub.x, y: hub.y + 4.5, 'text-anchor': 'middle' }, 'hub'));
    put(picture, svg('svg', { viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: 'group', 'aria-label': `The hub ${me.title ?? ''} and ${list.length} at its sides` }, links, items, centre));
  }

  function clip(value, most) { return value.length > most ? value.slice(0, most - 1) + '…' : value; }

  function update(list) {
    for (const node of list) {
      const one = drawn.get(node.key);
      const kind = node.bad ? 'bad' : node.warn ? 'warn' : '';
      one.link.setAttribute('class', `${node.away ? 'away' : node.in + node.out ? '' : 'idle'} ${node.hosts ? '' : kind}`);
      const wide = width(node.in + node.out).toFixed(1);
      if (one.wide !== wide) { one.wide = wide; one.link.style.strokeWidth = wide; }
      one.item.setAttribute('class', `node ${node.away ? 'away' : ''} ${kind}`);
      text(one.name, clip(node.name, 21));
      text(one.more, clip(node.behind, 27));
      text(one.rates, node.away ? '' : one.show(node));
      text(one.title, `${node.name}: ${rate(node.in)} to the hub, ${rate(node.out)} from it. ${node.behind}`);
    }
  }

  function show() {
    const list = nodes();
    const keys = list.map((node) => node.key).join() + picture.clientWidth;
    if (keys !== state.keys) { state.keys = keys; draw(list); }
    update(list);
  }

  search.addEventListener('input', () => { state.search = search.value; state.ids = null; show(); });
  ns.addEventListener('change', () => { location.hash = ns.value ? `#/map?ns=${ns.value}` : '#/map'; });
  const watcher = new ResizeObserver(show);
  watcher.observe(picture);
  const unwatch = watch(show);
  return { end() { unwatch(); choice.end(); watcher.disconnect(); } };
}
