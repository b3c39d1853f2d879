// The choice of a tenant, as several views have it.

import { el, put } from './dom.js';
import { byName, number, tenant } from './format.js';
import { hosts, watch } from './store.js';

/**
 * {node, end}: a select of the tenants that have hosts, kept up to date until end(); `value` is chosen first.
 * `all` offers all of them together, `counts` says how many hosts each has. Where there is no choice it hides.
 */
export function tenants({ value = '', all = true, counts = false } = {}) {
  const node = el('select', { name: 'ns', 'aria-label': 'Tenant' });
  let listed = '', wanted = value;
  function show() {
    const found = Object.entries(hosts.namespaces)
      .map(([uuid, one]) => [uuid, tenant(uuid, hosts.namespaces) + (counts ? ` (${number(one.hosts)})` : '')])
      .sort((one, other) => byName(one[1], other[1]));
    const stamp = JSON.stringify(found);
    if (stamp === listed) return;
    listed = stamp;
    const now = node.value || wanted;
    put(node, all ? el('option', { value: '' }, 'All tenants') : null, found.map(([uuid, name]) => el('option', { value: uuid }, name)));
    if (all || now) node.value = now;
    node.hidden = found.length < 2;
  }
  node.addEventListener('change', () => { wanted = node.value; });
  show();
  return { node, end: watch(show) };
}
