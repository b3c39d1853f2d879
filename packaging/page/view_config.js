// The configuration in force, and what a reload of its files would change, before it does.

import { get, post } from './api.js';
import { confirmed, el, put, say, spoken, text } from './dom.js';
import { clock } from './format.js';
import { hosts, watch } from './store.js';

function findings(title, rows, kind) {
  if (!rows.length) return null;
  return el(`div.findings.${kind}`, null, el('h3', null, title), el('ul', null, rows.map((one) => el('li', null,
    one.where ? el('code', null, one.where) : null, el('span', null, spoken(one.text)), one.hint ? el('span.remedy', null, spoken(one.hint)) : null))));
}

function changes(rows) {
  return el('ul.changes', null, rows.map((one) => el('li', null,
    el('p', null, el(`span.chip.${one.kind === 'removed' ? 'bad' : one.kind === 'added' ? 'good' : 'warn'}`, null, one.kind), el('b', null, one.service || 'the process')),
    one.lines.length ? el('pre', { tabindex: 0 }, one.lines.map((line) => [el(`span${line.startsWith('+') ? '.added' : line.startsWith('-') ? '.removed' : ''}`, null, line), '\n'])) : null)));
}

/** Show the view. */
export function view(main, { me }) {
  const cut = new AbortController();
  const result = el('div.result', { role: 'status' }), now = el('div.now');
  const keeping = el('div.keeping', { role: 'status' }), guard = el('input', { type: 'checkbox', checked: true });
  let timer = 0, waiting = false, was = hosts.state;
  const unwatch = watch(() => {
    if (hosts.state === 'live' && was === 'again') cameBack();
    was = hosts.state;
  });
  const look = el('button.primary', { type: 'button', onclick: check }, 'Compare with the files');
  put(main,
    el('div.head', null, el('h1', null, 'Configuration')),
    el('section.card', { 'aria-labelledby': 'reload' },
      el('h2', { id: 'reload' }, 'What a reload would change'),
      el('p', null, 'The files are read again and checked. Nothing changes until you apply it.'),
      el('div.buttons', null, look), result, keeping),
    el('section.card', { 'aria-labelledby': 'inforce' }, el('h2', { id: 'inforce' }, 'In force'), now));

  async function check() {
    look.disabled = true;
    put(result, el('p.note', null, 'Reading the files …'));
    try {
      const told = await get('/x/config/difference', {}, cut.signal);
      const may = told.differs && !told.problems.length && me.may.includes('reload');
      put(result,
        findings(`${told.problems.length} to mend: nothing can be applied`, told.problems, 'bad'),
        findings('Warnings', told.warnings, 'warn'),
        told.problems.length ? null : told.differs ? changes(told.changes) : el('p.note', null, 'The files say what is in force. A reload would change nothing.'),
        may ? el('div.buttons', null, el('button.primary', { type: 'button', onclick: () => apply(told) }, 'Apply these changes'), el('label.check', null, guard, 'and undo them after a minute, unless I keep them')) : null);
    } catch (error) {
      if (error.name !== 'AbortError') put(result, el('p.wrong', null, `${error.message} ${error.hint ?? ''}`));
    } finally {
      look.disabled = false;
    }
  }

  async function apply(told) {
    const restarted = told.changes.filter((one) => one.kind === 'restarted' || one.kind === 'removed').map((one) => one.service);
    const cost = restarted.length ? [`Sessions of ${restarted.join(', ')} end.`] : ['No session ends.'];
    if (!(await confirmed('Apply the configuration?', cost, 'Apply'))) return;
    try {
      const done = await post(`/x/config/reload${guard.checked ? '?confirm=60s' : ''}`, { stamp: told.stamp });
      put(result, el('p.verdict.good', null, 'It is in force.'), el('ul.plain', null, done.applied.map((line) => el('li', null, line))));
      if (done.confirm) wait({ id: done.confirm, left_s: 60 });
      ask();
    } catch (error) {
      say(`${error.message} ${error.hint}`, 'bad');
      if (error.status === 409 || error.status === 422) check();
    }
  }

  function stopWaiting(...said) {
    clearInterval(timer);
    waiting = false;
    put(keeping, ...said);
  }

  function wait(change) {
    const until = performance.now() + change.left_s * 1000;
    const left = el('b'), end = (path, said) => async () => {
      clearInterval(timer);
      try {
        await post(path, { id: change.id });
        say(said);
      } catch (error) {
        say(`${error.message} ${error.hint}`, 'bad');
      }
      stopWaiting();
      ask();
    };
    const tick = () => {
      const seconds = Math.ceil((until - performance.now()) / 1000);
      text(left, `${Math.max(0, seconds)} s`);
      if (seconds > 0) return;
      clearInterval(timer);
      timer = setTimeout(pending, 500, 'Nobody kept the change: it was undone. The files still say it, and a start of the hub would use them.');
    };
    clearInterval(timer);
    waiting = true;
    timer = setInterval(tick, 500);
    put(keeping, el('div.problem.warn', null,
      el('b', null, 'Keep this change?'), el('span', null, 'It is undone in ', left, '.'),
      el('div.buttons', null,
        el('button.primary', { type: 'button', onclick: end('/x/confirm', 'The change is kept.') }, 'Keep it'),
        el('button', { type: 'button', onclick: end('/x/undo', 'The change is undone.') }, 'Undo it now'))));
    tick();
  }

  /** Ask whether a change waits to be kept; `over` is said where none does any more. */
  async function pending(over = '') {
    try {
      const told = await get('/x/confirm', {}, cut.signal);
      if (told.pending) wait(told.pending);
      else if (waiting) {
        stopWaiting(el('p.note', null, over));
        ask();
      }
    } catch (error) { // who may not apply anything has nothing to keep
      if (waiting && error.name !== 'AbortError') stopWaiting(el('p.note', null, `${error.message} Whether the change was kept is not known.`));
    }
  }

  /** The hub was away, and may be another process by now. */
  function cameBack() {
    if (waiting) pending('This change does not wait any more: somebody else has kept or undone it, or the hub was started anew, with what its files say.');
    else ask();
  }

  async function ask() {
    try {
      const told = await get('/x/config', {}, cut.signal);
      put(now,
        el('p', null, told.files.length ? ['From ', told.files.map((file, at) => [at ? ', ' : '', el('code', null, file)])] : 'From the command line', `, since ${clock(told.loaded)}. Secrets are left out.`),
        el('pre.text', { tabindex: 0, role: 'region', 'aria-labelledby': 'inforce' }, told.text));
    } catch (error) {
      if (error.name !== 'AbortError') put(now, el('p.note', null, `${error.message} ${error.hint ?? ''}`));
    }
  }

  ask();
  if (me.may.includes('reload')) pending();
  return { end() { cut.abort(); clearInterval(timer); unwatch(); } };
}
