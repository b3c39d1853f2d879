// Elements made from data. Text always goes in as a text node: a host's name can never become markup.

/** An element: el('td.num', {title: '…', onclick: f}, child, …); children are nodes, texts, or null for nothing. */
export function el(kind, attributes, ...children) {
  const [tag, ...classes] = kind.split('.');
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(' ');
  return fill(set(node, attributes), children);
}

/** The same for SVG. */
export function svg(kind, attributes, ...children) {
  const [tag, ...classes] = kind.split('.');
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  if (classes.length) node.setAttribute('class', classes.join(' '));
  return fill(set(node, attributes), children);
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') node[name] = value;
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  return node;
}

function fill(node, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** Put other children into a node. */
export function put(node, ...children) {
  node.replaceChildren();
  return fill(node, children);
}

/** A text whose parts in backquotes are what somebody types: `tunrouter doctor`. */
export function spoken(words) {
  return words.split('`').map((part, at) => (at % 2 ? el('code', null, part) : part));
}

/** Set a text only where it is another one: the browser lays out nothing for what stayed. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** A labelled field of a form. */
export function field(label, input, hint) {
  const id = input.id || (input.id = `f${++fields}`);
  return el('div.field', null, el('label', { for: id }, label), input, hint ? el('small', null, hint) : null);
}
let fields = 0;

/** Ask before something is done that cannot be taken back; resolves to true or false. */
export function confirmed(question, explanation, yes) {
  return new Promise((resolve) => {
    const dialog = el('dialog', { 'aria-labelledby': 'ask' },
      el('form', { method: 'dialog' },
        el('h2', { id: 'ask' }, question),
        explanation.map((line) => el('p', null, line)),
        el('div.buttons', null,
          el('button', { value: '' }, 'Cancel'),
          el('button.primary', { value: 'yes' }, yes))));
    dialog.addEventListener('close', () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Say a short message at the edge of the page, and to a screen reader. */
export function say(message, kind = '') {
  const toast = el(`div.toast${kind ? '.' + kind : ''}`, null, message);
  document.getElementById('say').append(toast);
  setTimeout(() => toast.remove(), kind === 'bad' ? 9000 : 5000);
}
