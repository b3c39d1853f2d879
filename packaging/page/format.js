// Numbers for people: rates, sizes, times, names of namespaces.

/** Names in the order of people: host-2 before host-10. */
export const byName = new Intl.Collator('en', { numeric: true }).compare;

const STEPS = ['', 'k', 'M', 'G', 'T', 'P'];
/** The namespace of hosts that name none. */
export const NOBODY = '00000000-0000-0000-0000-000000000000';

function scaled(value) {
  let step = 0;
  while (value >= 999.5 && step < STEPS.length - 1) { value /= 1000; step += 1; }
  const shown = value >= 99.5 || Number.isInteger(value) ? Math.round(value) : Number(value.toPrecision(2));
  return [String(shown), STEPS[step]];
}

/** Bytes a second as bits a second, as people speak of lines: "12 Mbit/s"; an en dash for none. */
export function rate(bytes) {
  if (!(bytes >= 1)) return '–';
  const [number, step] = scaled(bytes * 8);
  return `${number} ${step}bit/s`;
}

/** The same, as short as a picture needs it: "12M". */
export function shortRate(bytes) {
  if (!(bytes >= 1)) return '0';
  return scaled(bytes * 8).join('');
}

/** "1.2 MB"; an en dash for none. */
export function size(bytes) {
  if (!bytes) return '–';
  const [number, step] = scaled(bytes);
  return `${number} ${step}B`;
}

/** "1,234". */
export function number(value) {
  return value.toLocaleString('en');
}

/** Seconds as milliseconds: "0.4 ms", "12 ms", "1.3 s". */
export function ms(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds >= 1) return `${Number(seconds.toPrecision(2))} s`;
  const value = seconds * 1000;
  return `${value >= 10 ? Math.round(value) : Number(value.toPrecision(2))} ms`;
}

/** A share in percent: "0.4 %". */
export function share(value) {
  if (value === null || value === undefined) return '–';
  return `${Number((value * 100).toPrecision(2))} %`;
}

/** A span of seconds: "42 s", "3 min", "5 h", "12 d". */
export function span(seconds) {
  const value = Math.max(0, seconds);
  if (value < 100) return `${Math.round(value)} s`;
  if (value < 6000) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

/** A time of day, with the date where it was not today. */
export function clock(unix) {
  const at = new Date(unix * 1000);
  const time = at.toLocaleTimeString('en-GB');
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString('sv')} ${time}`;
}

/** The name of a namespace: its title, or the beginning of its UUID; "default" for that of hosts without one. */
export function tenant(ns, namespaces) {
  const title = namespaces[ns]?.title;
  if (title) return title;
  return ns === NOBODY || !ns ? 'default' : ns.slice(0, 8);
}
