// The frame around the views: navigation, what all hosts do together, whether the page is live, who looks on.

import { post } from './api.js';
import { el, put, say, text } from './dom.js';
import { number, rate } from './format.js';
import { chosen, hosts, start, stop, watch } from './store.js';

const VIEWS = [
  ['hosts', 'Hosts', 'M3 5h14M3 10h14M3 15h9'],
  ['map', 'Map', 'M10 10 4 5m6 5 6-5m-6 5v6M10 10h.01M4 5h.01M16 5h.01M10 16h.01'],
  ['routes', 'Routes', 'M3 6h9a3 3 0 0 1 0 6H8a2 2 0 0 0 0 4h9m-3-3 3 3-3 3'],
  ['cluster', 'Cluster', 'M10 4h.01M4 15h.01M16 15h.01M10 4 4 15h12L10 4'],
  ['drops', 'Drops', 'M10 3c3 4 5 6 5 9a5 5 0 0 1-10 0c0-3 2-5 5-9Z'],
  ['trace', 'Trace', 'M2 10h4l2-6 4 12 2-6h4'],
  ['config', 'Config', 'M4 6h12M4 14h12M8 4v4M13 12v4'],
];
const FOR_ALL = new Set(['hosts', 'map', 'routes', 'drops']);

const byId = (id) => document.getElementById(id);
const page = { me: null, view: null, name: '', unwatch: null, turn: 0, leave: null };

function icon(path) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  for (const [name, value] of Object.entries({ viewBox: '0 0 20 20', width: 20, height: 20, 'aria-hidden': 'true' })) made.setAttribute(name, value);
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  line.setAttribute('d', path);
  made.append(line);
  return made;
}

function allowed(name) {
  if (FOR_ALL.has(name) || name === 'host') return true;
  if (name === 'cluster') return page.me.cluster;
  return name === 'trace' ? page.me.may.includes('trace') : page.me.role !== 'tenant';
}

function navigation() {
  const links = VIEWS.filter(([name]) => allowed(name)).map(([name, word, path]) =>
    el('a', { href: `#/${name}`, id: `to-${name}` }, icon(path), el('span', null, word),
      name === 'hosts' ? el('b.count', { id: 'problems', hidden: true }) : null));
  put(byId('nav'), links);
}

const STATES = {
  starting: ['starting', ''], live: ['live', 'on'], again: ['connecting again …', 'off'], asleep: ['resting', ''],
};

function show() {
  const { totals } = hosts;
  if (hosts.ready) {
    const pairs = [['up', number(totals.up)], ['away', number(totals.away)], ['in', rate(totals.in)], ['out', rate(totals.out)], ['drops', `${number(Math.round(totals.drops_s))}/s`]];
    const box = byId('totals');
    if (box.childElementCount !== pairs.length) {
      put(box, pairs.map(([word]) => el(`span.of-${word}`, null, el('i', null, word), el('b'))));
    }
    pairs.forEach(([, value], at) => text(box.children[at].lastChild, value));
  }
  const [word, kind] = STATES[hosts.state];
  const live = byId('live');
  text(live, word);
  live.className = `live ${kind}`;
  const badge = byId('problems');
  if (badge) {
    const count = chosen({ problems: true }).length;
    badge.hidden = !count;
    text(badge, count ? number(count) : '');
    badge.title = count === 1 ? '1 host has problems' : `${count} hosts have problems`;
  }
}

function who() {
  const { me } = page;
  const role = { admin: '', viewer: 'looks on', tenant: 'one tenant' }[me.role] ?? '';
  put(byId('who'), me.user ? [
    el('span', { title: role }, me.user),
    el('button.quiet', { type: 'button', onclick: async () => {
      try { await post('/x/session', {}, 'DELETE'); } catch (error) { say(error.message, 'bad'); }
      page.leave();
    } }, 'Log out'),
  ] : []);
}

async function go() {
  const turn = ++page.turn;
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name = '', ...rest] = path.split('/').map(decodeURIComponent);
  const there = name === 'host' || VIEWS.some(([one]) => one === name);
  const wanted = there && allowed(name) ? name : 'hosts';
  let module;
  try {
    module = await import(`./view_${wanted}.js`);
  } catch {
    say('A part of this page could not be read from the hub.', 'bad');
    return;
  }
  if (turn !== page.turn || !page.me) return;
  page.view?.end?.();
  const main = byId('main');
  put(main);
  main.className = `main view-${wanted}`;
  const first = page.name === '';
  page.name = wanted;
  page.view = module.view(main, { me: page.me, rest, query: new URLSearchParams(query) });
  const word = VIEWS.find(([one]) => one === wanted)?.[1] ?? rest[0];
  document.title = `${main.querySelector('h1')?.textContent || word} · ${page.me.title || 'tunrouter'}`;
  for (const link of byId('nav').children) {
    if (link.id === `to-${wanted === 'host' ? 'hosts' : wanted}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (there && wanted !== name && name === 'cluster' && page.me.role !== 'tenant') say('This hub is in no cluster.', 'bad');
  else if (there && wanted !== name) say(`${VIEWS.find(([one]) => one === name)[1]} is not for the role ${page.me.role}: your hosts are here.`, 'bad');
  else if (name && !there) say(`There is no view ${name}.`, 'bad');
  if (!first) { main.focus({ preventScroll: true }); window.scrollTo(0, 0); }
}

/** Show the page to who has logged in (a reply of /x/me); `leave` is called where the login ends. */
export function begin(me, leave) {
  Object.assign(page, { me, leave });
  document.body.classList.remove('alone');
  text(byId('title'), me.title || 'tunrouter');
  byId('title').title = me.software;
  navigation();
  who();
  page.unwatch = watch(show);
  window.addEventListener('hashchange', go);
  start();
  show();
  go();
}

/** Take everything away again. */
export function end() {
  stop();
  page.turn += 1;
  page.unwatch?.();
  window.removeEventListener('hashchange', go);
  page.view?.end?.();
  Object.assign(page, { me: null, view: null, name: '' });
  for (const id of ['nav', 'totals', 'who', 'main']) put(byId(id));
  put(byId('live'), '');
}
