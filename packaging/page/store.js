// All hosts, live: one snapshot, then the differences of each tick. Views read rows and are called back.

import { events, get } from './api.js';
import { say } from './dom.js';
import { byName, tenant } from './format.js';

const BACKOFF = [500, 1000, 2000, 5000, 10000];
const HIDDEN_FOR = 10000; // a page in the background lets the hub rest
const SILENT_FOR = 15000; // without a tick for so long the stream counts as cut

/** How bad a problem is: the worse, the further up. */
export const PROBLEMS = {
  away: { rank: 6, word: 'away', bad: true },
  conflict: { rank: 5, word: 'address conflict', bad: true },
  silent: { rank: 4.5, word: 'silent', bad: false },
  dropping: { rank: 4, word: 'dropping', bad: false },
  queue: { rank: 3, word: 'queue stands', bad: false },
  name: { rank: 2.5, word: 'wrong name', bad: false },
  flapping: { rank: 2, word: 'flapping', bad: false },
  loss: { rank: 1, word: 'loss', bad: false },
};

/** The problems of a host in words. */
export const problemWords = (row) => row.problems.map((code) => PROBLEMS[code]?.word ?? code).join(', ');

export const hosts = {
  rows: new Map(), // id -> {id, host, ns, …}
  namespaces: {},
  totals: { up: 0, away: 0, in: 0, out: 0, drops_s: 0 },
  seq: null,
  now: 0,
  more: 0,
  ready: false,
  state: 'starting', // starting, live, again (the stream was cut), asleep
};

const watchers = new Set();
/** Call back after each change; returns what ends that. */
export function watch(call) {
  watchers.add(call);
  return () => watchers.delete(call);
}
function tell() { watchers.forEach((call) => call()); }

let columns = [];
function read(values) {
  const row = {};
  columns.forEach((name, at) => { row[name] = values[at]; });
  weigh(row);
  return row;
}

function weigh(row) {
  row.rank = row.problems.reduce((worst, code) => Math.max(worst, PROBLEMS[code]?.rank ?? 1), 0);
  row.tenant = tenant(row.ns, hosts.namespaces);
  row.words = `${row.host} ${row.tenant} ${row.peer} ${row.address} ${row.prefixes.join(' ')} ${row.problems.join(' ')}`.toLowerCase();
}

async function snapshot(signal) {
  const told = await get('/x/hosts', {}, signal);
  columns = told.columns;
  hosts.namespaces = told.namespaces;
  hosts.rows = new Map(told.rows.map((values) => { const row = read(values); return [row.id, row]; }));
  Object.assign(hosts, { totals: told.totals, seq: told.seq, now: told.now, more: told.more, ready: true });
}

function apply(change) {
  if (change.namespaces) Object.assign(hosts.namespaces, change.namespaces);
  for (const [id, ...pairs] of change.rows) {
    const row = hosts.rows.get(id);
    if (!row) continue;
    let named = false;
    for (let at = 0; at < pairs.length; at += 2) {
      const name = columns[pairs[at]];
      row[name] = pairs[at + 1];
      named ||= name !== 'in' && name !== 'out';
    }
    if (named) weigh(row);
  }
  for (const values of change.new ?? []) { const row = read(values); hosts.rows.set(row.id, row); }
  for (const id of change.gone ?? []) hosts.rows.delete(id);
  if (change.totals) hosts.totals = change.totals;
  hosts.seq = change.seq;
  hosts.now = change.now;
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

async function follow(signal) {
  let why = '';
  for (let tries = 0; !signal.aborted;) {
    const cut = new AbortController();
    signal.addEventListener('abort', () => cut.abort(), { once: true });
    let timer;
    try {
      if (!hosts.ready || hosts.seq === null) { await snapshot(signal); tell(); }
      const heard = () => { clearTimeout(timer); timer = setTimeout(() => cut.abort(), SILENT_FOR); };
      heard();
      for await (const { event, data } of events('/x/events', { since: hosts.seq }, cut.signal)) {
        heard();
        tries = 0;
        why = '';
        if (event === 'hosts') apply(data);
        if (event === 'reset') { hosts.seq = null; break; }
        if (event === 'hosts' || hosts.state !== 'live') { hosts.state = 'live'; tell(); } // not before the stream is there
        if (event === 'bye') break;
      }
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
      if (error.status) {
        hosts.seq = null;
        if (error.message !== why) say(error.message, 'bad');
        why = error.message;
      }
    } finally {
      clearTimeout(timer);
    }
    if (signal.aborted) return;
    if (hosts.seq !== null || tries) { hosts.state = 'again'; tell(); }
    await pause(hosts.seq === null && tries === 0 ? 100 : BACKOFF[Math.min(tries, BACKOFF.length - 1)] * (0.7 + 0.6 * Math.random()), signal);
    tries += 1;
  }
}

let running = null;
let hiding = 0;
/** Begin to follow the hub, and again whenever somebody looks at the page after a while in the background. */
export function start() {
  if (running) return;
  running = new AbortController();
  follow(running.signal);
}

/** End that, with whatever is known. */
export function stop() {
  running?.abort();
  running = null;
  Object.assign(hosts, { rows: new Map(), namespaces: {}, seq: null, ready: false, state: 'starting' });
}

function rest() {
  if (!running) return;
  running.abort();
  running = null;
  hosts.state = 'asleep';
}

function wake() {
  clearTimeout(hiding);
  if (hosts.state === 'asleep') start();
}

// A browser has six connections for one hub, for all its tabs together: who does not look gives its one back.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) hiding = setTimeout(rest, HIDDEN_FOR);
  else wake();
});
window.addEventListener('pagehide', rest);
window.addEventListener('pageshow', wake);

/** Rows that fit a search text, a tenant and "only problems"; a copy. */
export function chosen({ search = '', ns = '', problems = false } = {}) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const row of hosts.rows.values()) {
    if (ns && row.ns !== ns) continue;
    if (problems && !row.problems.length) continue;
    if (words.every((word) => row.words.includes(word))) found.push(row);
  }
  return found;
}

/** Which comes first where nothing else is asked for: problems, then names. */
export function worstFirst(one, other) {
  return other.rank - one.rank || byName(one.host, other.host) || one.id - other.id;
}
