// The form of a login.

import { post } from './api.js';
import { el, field, put } from './dom.js';

/** Show the form; `done` is called after the hub has let somebody in. */
export function login(main, done) {
  document.body.classList.add('alone');
  document.title = 'Log in · tunrouter';
  const user = el('input', { name: 'user', autocomplete: 'username', required: true, autocapitalize: 'none', spellcheck: 'false' });
  const password = el('input', { name: 'password', type: 'password', autocomplete: 'current-password', required: true });
  const wrong = el('p.wrong', { role: 'alert' });
  const button = el('button.primary', null, 'Log in');
  const form = el('form.card.login', { 'aria-labelledby': 'login' },
    el('img', { src: 'page/icon.svg', alt: '', width: 40, height: 40 }),
    el('h1', { id: 'login' }, 'Log in'),
    field('User', user), field('Password', password), wrong, button);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    put(wrong);
    try {
      await post('/x/session', { username: user.value, password: password.value });
      done();
    } catch (error) {
      put(wrong, error.status === 401 ? 'This user and password do not fit.' : `${error.message} ${error.hint}`);
      password.value = '';
      password.focus();
    } finally {
      button.disabled = false;
    }
  });
  main.className = 'main';
  put(main, form);
  user.focus();
}
