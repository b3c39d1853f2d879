// Requests to the hub: JSON both ways, errors with what to do about them, and streams that come again.

/** What the hub refused, or that it could not be asked. */
export class Refused extends Error {
  constructor(status, message, hint) {
    super(message);
    this.status = status;
    this.hint = hint || '';
  }
}

const listeners = new Set();
/** Call back whenever a reply says that the login has ended. */
export function onLoggedOut(call) { listeners.add(call); }

async function refused(reply, path) {
  let told = {};
  try { told = await reply.json(); } catch { /* a proxy's page, or nothing */ }
  if (reply.status === 401 && path !== '/x/session') listeners.forEach((call) => call());
  const wait = reply.headers.get('Retry-After');
  const hint = told.hint || (reply.status === 429 && wait ? `Try again in ${wait} s.` : '');
  return new Refused(reply.status, told.msg || `The hub refused this (${reply.status}).`, hint);
}

const base = new URL('.', document.baseURI); // the page may be below a prefix, as GOST's pathPrefix has it

async function asked(path, options) {
  let reply;
  try {
    reply = await fetch(new URL(path.slice(1), base), { credentials: 'same-origin', cache: 'no-store', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused(0, 'The hub cannot be reached.', 'Is it running? The page tries again by itself.');
  }
  if (!reply.ok) throw await refused(reply, path);
  return reply;
}

/** Path and parameters as one address; empty parameters are left out. */
export function address(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== '' && value != null));
  return `${path}${query.size ? '?' + query : ''}`;
}

/** The JSON of a path. Raises Refused. */
export async function get(path, parameters, signal) {
  return (await asked(address(path, parameters), { signal })).json();
}

/** Change something; the header is one that a form of another site cannot send. Raises Refused. */
export async function post(path, body = {}, method = 'POST') {
  const headers = { 'Content-Type': 'application/json', 'X-Tunrouter': '1' };
  const reply = await asked(path, { method, headers, body: method === 'POST' ? JSON.stringify(body) : undefined });
  return reply.status === 204 ? null : reply.json();
}

/** Events of a stream until it ends: each is {event, data}. Raises Refused, and AbortError where the signal ends it. */
export async function* events(path, parameters, signal) {
  const reply = await asked(address(path, parameters), { signal, headers: { Accept: 'text/event-stream' } });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = '';
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Refused(0, 'The stream was cut.', '');
    }
    if (part.done) return;
    kept += part.value;
    let end;
    while ((end = kept.indexOf('\n\n')) >= 0) {
      const block = kept.slice(0, end);
      kept = kept.slice(end + 2);
      let event = 'message';
      const data = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event:')) event = line.slice(6).trim();
        else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
      if (data.length) yield { event, data: JSON.parse(data.join('\n')) };
      else yield { event: '', data: null };
    }
  }
}
