// The beginning: who is looking, then the shell with the view that the address names.

import { get, onLoggedOut } from './api.js';
import { put } from './dom.js';
import { begin, end } from './shell.js';
import { login } from './view_login.js';

const main = document.getElementById('main');
let entering = false;

async function enter() {
  let me;
  try {
    me = await get('/x/me');
  } catch (error) {
    put(main, Object.assign(document.createElement('p'), { className: 'note', textContent: `${error.message} ${error.hint ?? ''}` }));
    setTimeout(enter, 3000);
    return;
  }
  entering = false;
  if (me.login && !me.user) login(main, enter);
  else begin(me, leave);
}

function leave() {
  if (entering) return;
  entering = true;
  end();
  enter();
}

onLoggedOut(leave);
enter();
