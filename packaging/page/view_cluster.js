// The hubs of this hub's cluster, as it knows them: who lives, what each has, what is wrong, and the totals.

import { get } from './api.js';
import { el, put, text } from './dom.js';
import { byName, ms, number, span } from './format.js';
import { Table } from './table.js';

const EVERY = 2000;
const WHY = {
  gone: 'says nothing: its hosts are gone', behind: 'its list is read again', unreachable: 'no link with it', 'no registry': 'the registry is away',
};

function named(row) {
  const good = row.state === 'good';
  return [el(`i.dot.${row.live ? (good ? 'up' : 'draining') : 'away'}`, { role: 'img', 'aria-label': row.state }), el('span.name', { title: row.name }, row.name), row.here ? el('small', { title: 'this hub has made this page' }, ' this hub') : null];
}

function wrong(row) {
  if (row.state === 'good') return el('span.fine', null, 'good');
  const why = [WHY[row.state], row.error].filter(Boolean).join(': ');
  return el('span', { title: `${row.state}: ${why}` }, el(`span.chip${row.live ? '.warn' : '.bad'}`, null, row.state), ` ${why}`);
}

const COLUMNS = [
  { name: 'host', title: 'Hub', show: named, stamp: (row) => `${row.state} ${row.live} ${row.here} ${row.name}`, key: (row) => row.name },
  { name: 'state', title: 'What is wrong', show: wrong, stamp: (row) => `${row.state} ${row.live} ${row.error}`, key: (row) => (row.state === 'good' ? 0 : row.live ? 1 : 2), down: true },
  { name: 'hosts', title: 'Hosts', number: true, show: (row) => number(row.hosts), key: (row) => row.hosts, down: true },
  { name: 'sessions', title: 'Sessions', number: true, show: (row) => number(row.sessions), key: (row) => row.sessions, down: true },
  { name: 'rtt', title: 'RTT', number: true, show: (row) => ms(row.rtt_s), key: (row) => row.rtt_s ?? -1, down: true },
  { name: 'heard', title: 'Heard', number: true, show: (row) => (row.heard_s === null ? '–' : `${span(row.heard_s)} ago`), key: (row) => row.heard_s ?? -1, down: true },
  { name: 'since', title: 'Up', number: true, show: (row) => span(row.up_s), key: (row) => row.up_s, down: true },
  { name: 'software', title: 'Version', whole: true, show: (row) => row.software.replace(/^tunrouter /, '') || '–', key: (row) => row.software },
  { name: 'prefix', title: 'Address', whole: true, show: (row) => row.address || '–', key: (row) => row.address },
];

/** Problems first, then by name; the hub that was asked before all that are well. */
function worstFirst(one, other) {
  const rank = (row) => (row.state === 'good' ? (row.here ? 2 : 3) : row.live ? 1 : 0);
  return rank(one) - rank(other) || byName(one.name, other.name);
}

const many = (count, word) => `${number(count)} ${word}${count === 1 ? '' : 's'}`;

function words(told) {
  const { total } = told;
  const runs = Object.entries(total.software).map(([software, hubs]) => `${number(hubs)} with ${software}`).join(', ');
  return `${number(total.live)} of ${many(total.hubs, 'hub')} live, ${many(total.hosts, 'host')}, ${many(total.sessions, 'session')}${runs ? `; ${runs}` : ''}`;
}

/** Show the view. */
export function view(main) {
  const count = el('span.count', { role: 'status' });
  const note = el('p.note', { role: 'alert', hidden: true });
  const table = new Table({
    label: 'Hubs of the cluster', columns: COLUMNS, key: (row) => row.name, compare: worstFirst,
    mark: (row) => (row.state === 'good' ? '' : row.live ? 'warn' : 'bad'),
  });
  put(main, el('div.head', null, el('h1', null, 'Cluster'), count), note, table.node);
  const cut = new AbortController();

  function complain(message) {
    note.hidden = !message;
    text(note, message);
  }

  async function ask() {
    let told;
    try {
      told = await get('/x/cluster', {}, cut.signal);
    } catch (error) {
      if (error.name !== 'AbortError') complain(`${error.message} ${error.hint ?? ''}`);
      return;
    }
    complain(told.error ? `The registry ${told.registry} is away: ${told.error}. What is known goes on.` : '');
    text(count, words(told));
    table.set(told.hubs);
  }

  ask();
  const timer = setInterval(() => { if (!document.hidden) ask(); }, EVERY);
  return { end() { cut.abort(); clearInterval(timer); table.end(); } };
}
