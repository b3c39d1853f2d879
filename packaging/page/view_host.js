// One host: what is wrong with it, its curves of the last hour, sessions, flows; kick and drain.

import { get, post } from './api.js';
import { Curves } from './curves.js';
import { confirmed, el, put, say, spoken, text } from './dom.js';
import { clock, ms, number, rate, share, size, span } from './format.js';
import { PROBLEMS, hosts, watch } from './store.js';
import { chips } from './view_hosts.js';

const EVERY = 5000;
const MOST_POINTS = 3600;

function facts(pairs) {
  return el('dl', null, pairs.filter(([, value]) => value !== '' && value !== null && value !== undefined).map(([name, value]) => [el('dt', null, name), el('dd', null, value)]));
}

const RIGHT = new Set(['Rate', 'Packets']); // columns of numbers

function grid(id, titles, rows) {
  const kinds = titles.map((title) => (RIGHT.has(title) ? '.num' : ''));
  return el('div.wide', { tabindex: 0, role: 'region', 'aria-labelledby': id }, el('table', null,
    el('thead', null, el('tr', null, titles.map((title, at) => el(`th${kinds[at]}`, { scope: 'col' }, title)))),
    el('tbody', null, rows.map((row) => el('tr', null, row.map((cell, at) => el(`td${kinds[at]}`, null, cell)))))));
}

function section(id, title, ...children) {
  return el('section.card', { 'aria-labelledby': id }, el('h2', { id }, title), children);
}

function sessions(rows) {
  if (!rows.length) return el('p.note', null, 'It has no session now.');
  return rows.map((row) => facts([
    ['Peer', row.via ? `${row.peer}, through ${row.via}` : row.peer],
    ['Transport', [row.transport, row.congestion].filter(Boolean).join(', ')],
    ['Software', row.software || 'GOST, or another'],
    ['Since', `${span(row.since_s)}`],
    ['Round trip', ms(row.rtt_s || null)],
    ['Lanes', row.lanes?.length > 1 ? row.lanes.map((lane) => `${lane.carries} ${ms(lane.rtt_s)}`).join(', ') : ''],
    ['Datagrams', row.channel ? `${row.channel.state}${row.channel.reason ? ': ' + row.channel.reason : ''}, loss ${share(row.channel.loss)}, path MTU ${row.channel.path_mtu}` : row.no_channel ? `none: ${row.no_channel}` : ''],
    ['Queue', row.queue_bytes ? `${size(row.queue_bytes)}, ${ms(row.queue_s)}` : 'empty'],
    ['Received', `${size(row.received_bytes)}, ${number(row.received_packets)} packets`],
    ['Sent', `${size(row.sent_bytes)}, ${number(row.sent_packets)} packets`],
    ['Superpackets', row.superpackets ? 'yes' : 'no'],
  ]));
}

function endpoint(address, port) {
  if (!port) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Show the view. */
export function view(main, { me, rest }) {
  const id = Number(rest[0]);
  const cut = new AbortController();
  const row = () => hosts.rows.get(id);
  const name = el('h1', null, row()?.host ?? `host ${rest[0]}`), state = el('span.state'), where = el('span.count');
  const act = (word, path, explanation) => el('button', { type: 'button', onclick: async () => {
    const host = row()?.host ?? name.textContent;
    if (!(await confirmed(`${word} ${host}?`, explanation, word))) return;
    try {
      const told = await post(`/x/hosts/${id}/${path}`);
      say(`${word}: ${told.sessions} session${told.sessions === 1 ? '' : 's'} of ${host}.`);
      ask();
    } catch (error) {
      say(`${error.message} ${error.hint}`, 'bad');
    }
  } }, word);
  const buttons = [
    me.may.includes('drain') ? act('Drain', 'drain', ['Its client is asked to get another session first and to give this one up then. Nothing is lost.']) : null,
    me.may.includes('kick') ? act('Kick', 'kick', ['Its sessions end at once, and connections through them stand still until it is back.', 'Its client may connect again; only taking away its login or its rule keeps it out.']) : null,
  ];
  const curves = {
    rate: new Curves('Rate', [{ name: 'in', colour: '--accent' }, { name: 'out', colour: '--second' }], rate, 125),
    rtt: new Curves('Round trip', [{ name: 'rtt', colour: '--accent' }], ms, 0.01, 'Not measured: clients of tunrouter are.'),
    loss: new Curves('Loss of datagrams', [{ name: 'loss', colour: '--accent' }], share, 0.01, 'Not measured: packets go by the stream, not as datagrams.'),
    queue: new Curves('Queue', [{ name: 'queue', colour: '--accent' }], ms, 0.01),
  };
  const problems = el('div.problems'), details = el('div.details');
  put(main,
    el('p.back', null, el('a', { href: '#/hosts' }, '← All hosts')),
    el('div.head', null, name, state, where, el('div.buttons', null, buttons)),
    problems,
    el('div.curves', null, Object.values(curves).map((one) => one.node)),
    details);

  function head() {
    const one = row();
    if (!one) return;
    text(name, one.host);
    for (const button of buttons) if (button) button.disabled = one.state === 'away';
    const stamp = `${one.state} ${one.problems}`;
    if (state.dataset.stamp !== stamp) {
      state.dataset.stamp = stamp;
      put(state, el(`i.dot.${one.state}`, { 'aria-hidden': 'true' }), one.state, chips(one.problems.filter((code) => code !== one.state)));
    }
    text(where, [one.tenant, one.address, one.peer].filter(Boolean).join(' · '));
  }

  const points = { t: [], in: [], out: [], rtt: [], loss: [], queue_s: [] };
  const NAMES = Object.keys(points).filter((key) => key !== 't');
  let step = 10, timer = 0;
  async function askCurves() {
    const since = points.t.at(-1);
    try {
      const told = await get(`/x/hosts/${id}/curves`, { since }, cut.signal);
      step = told.step_s;
      told.in.forEach((_, at) => {
        const unix = told.start + at * step;
        if (points.t.length && unix <= points.t.at(-1)) return;
        points.t.push(unix);
        for (const key of NAMES) points[key].push(told[key][at] ?? null);
      });
      const most = Math.min(MOST_POINTS, Math.ceil(3600 / step));
      for (const list of Object.values(points)) list.splice(0, list.length - most);
      curves.rate.set([points.t, points.in, points.out]);
      curves.rtt.set([points.t, points.rtt]);
      curves.loss.set([points.t, points.loss]);
      curves.queue.set([points.t, points.queue_s]);
    } catch (error) {
      if (error.name === 'AbortError' || error.status === 401 || error.status === 404) return;
    }
    if (!cut.signal.aborted) timer = setTimeout(askCurves, step * 1000);
  }

  let shown = '';
  async function ask() {
    let told;
    try {
      told = await get(`/x/hosts/${id}`, {}, cut.signal);
    } catch (error) {
      if (error.name === 'AbortError') return;
      put(details, el('p.note', null, error.status === 404 ? 'The hub knows no such host (any more).' : `${error.message} ${error.hint}`));
      return;
    }
    text(name, told.host);
    document.title = `${told.host} · ${me.title || 'tunrouter'}`;
    const wrong = JSON.stringify(told.problems);
    if (wrong !== shown) {
      shown = wrong;
      put(problems, told.problems.map((one) => el(`div.problem${PROBLEMS[one.code]?.bad ? '.bad' : '.warn'}`, null, el('b', null, PROBLEMS[one.code]?.word ?? one.code), el('span', null, spoken(one.text)), one.remedy && !one.text.includes(one.remedy) ? el('span.remedy', null, spoken(one.remedy)) : null)));
    }
    if (document.getSelection()?.toString() && details.contains(document.getSelection().anchorNode)) return;
    const focused = details.contains(document.activeElement);
    if (focused && details.childElementCount) return;
    put(details,
      section('sessions', 'Sessions', sessions(told.sessions)),
      section('flows', 'Flows that carry most now', told.flows.length
        ? grid('flows', ['From', 'To', 'Protocol', 'Rate'], told.flows.map((one) => [endpoint(one.src, one.sport), endpoint(one.dst, one.dport), one.proto, rate(one.bytes_s)]))
        : el('p.note', null, told.flows_note || 'None now.')),
      section('behind', 'Networks behind it', told.prefixes.length
        ? el('ul.prefixes', null, told.prefixes.map((one) => el('li', null, one)), told.more_prefixes ? el('li', null, `and ${number(told.more_prefixes)} more`) : null)
        : el('p.note', null, 'No route leads to it.')),
      section('dropped', 'Dropped packets', told.drops.length
        ? grid('dropped', ['Why', 'Packets', 'What to do', 'Last'], told.drops.map((one) => [el('b', { title: one.about }, one.reason), number(one.count), one.remedy, one.last ? `${span(one.last.ago_s)} ago: ${one.last.packet}` : '']))
        : el('p.note', null, 'None.')),
      section('history', 'What happened', told.history.length
        ? el('ul.history', null, told.history.map((one) => el('li', null, el('time', null, clock(one.at)), el('b', null, one.what), el('span', null, one.text))))
        : el('p.note', null, 'Nothing yet.')));
  }

  head();
  askCurves();
  ask();
  const unwatch = watch(head);
  const asking = setInterval(() => { if (!document.hidden) ask(); }, EVERY);
  return { end() { cut.abort(); clearTimeout(timer); clearInterval(asking); unwatch(); Object.values(curves).forEach((one) => one.end()); } };
}
