// Elements, formats and small pictures. Everything from outside becomes a text node: nothing here parses markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'style') Object.assign(element.style, value);
    else if (name === 'value' && 'value' in element) element.value = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const put = (element, ...children) => { element.replaceChildren(); return fill(element, {}, children); };

export const number = (n) => (n === undefined || n === null ? '–' : Number(n).toLocaleString('en-US'));
export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${unit ? n.toFixed(1) : n} ${units[unit]}`;
}
export function span(seconds) {
  if (seconds === undefined || seconds === null) return '–';
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const CLOCKS = ['local', 'utc', 'relative'];
export const clock = () => localStorage.getItem('tidewire.clock') ?? 'local';
export const nextClock = () => localStorage.setItem('tidewire.clock', CLOCKS[(CLOCKS.indexOf(clock()) + 1) % CLOCKS.length]);
export function time(text) {
  if (!text) return '–';
  const at = new Date(text);
  if (Number.isNaN(at.valueOf())) return text;
  const shown = {
    relative: () => (at > Date.now() ? `in ${span((at - Date.now()) / 1000)}` : `${span((Date.now() - at) / 1000)} ago`),
    utc: () => at.toISOString().replace('T', ' ').replace(/\.\d+Z$/, 'Z'),
    local: () => at.toLocaleString(undefined, { dateStyle: 'short', timeStyle: 'medium' }),
  }[clock()]();
  return h('time', { datetime: text, title: text }, shown);
}

const TONES = {
  completed: 'good', done: 'good', handled: 'good', up: 'good', ready: 'good', ok: 'good', closed: 'good', active: 'good', live: 'good',
  undone: 'undo', compensating: 'undo', muted: 'undo',
  stuck: 'bad', failed: 'bad', parked: 'bad', error: 'bad', down: 'bad', open: 'bad', critical: 'bad', disabled: 'bad',
  stalled: 'warn', paused: 'warn', unknown: 'warn', warning: 'warn', retrying: 'warn', pending: 'warn', half_open: 'warn',
};
export const tone = (word) => TONES[word] ?? 'dim';
export const badge = (word) => h('span', { class: `badge ${tone(word)}` }, String(word ?? '–').replaceAll('_', ' '));
export const link = (page, text, parameters) => h('a', { href: href(page, parameters) }, text);
export function href(page, parameters = {}) {
  const known = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return `#/${page}${known.length ? `?${new URLSearchParams(known)}` : ''}`;
}
export const eventLink = (id, text) => link(`events/${encodeURIComponent(id)}`, h('span', { class: 'mono' }, text ?? id));

/// Columns are [title, row => content, class].
export function table(columns, rows, empty) {
  if (!rows.length) return h('div', { class: 'scroll' }, h('div', { class: 'empty' }, empty));
  const head = h('tr', {}, columns.map(([title, , kind]) => h('th', { class: kind === 'num' ? 'num' : undefined, scope: 'col' }, title)));
  const line = (row) => h('tr', {}, columns.map(([, cell, kind]) => h('td', { class: kind }, cell(row))));
  return h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, head), h('tbody', {}, rows.map(line))));
}
export const empty = (text, command) => [h('div', {}, text), command && h('code', {}, command)];
export const facts = (pairs) => h('dl', { class: 'facts' }, pairs.filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));

/// JSON to look at: folded where it is long, cut where it is huge.
const MAX_SHOWN = 200;
export function json(value, depth = 0) {
  if (value === null || typeof value !== 'object') {
    const text = JSON.stringify(value);
    return h('span', { class: typeof value === 'string' ? 's' : 'l' }, text === undefined ? 'undefined' : text);
  }
  const entries = Object.entries(value);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  if (!entries.length) return h('span', {}, open + close);
  const shown = entries.slice(0, MAX_SHOWN).map(([name, inner]) => h('div', {}, Array.isArray(value) ? null : [h('span', { class: 'k' }, name), ': '], json(inner, depth + 1)));
  if (entries.length > MAX_SHOWN) shown.push(h('div', { class: 'dim' }, `… ${entries.length - MAX_SHOWN} more`));
  return h('details', { open: depth < 2 && entries.length <= 40 }, h('summary', { class: 'dim' }, `${open} ${entries.length} ${close}`), shown);
}
export const jsonBlock = (value) => h('pre', { class: 'json' }, json(value));

export function spark(points) {
  if (points.length < 2) return s('svg', { class: 'spark' });
  const top = Math.max(...points, 1e-9);
  const at = points.map((value, i) => `${((i / (points.length - 1)) * 100).toFixed(2)},${(30 - (value / top) * 28).toFixed(2)}`);
  const line = `M${at.join('L')}`;
  return s('svg', { class: 'spark', viewBox: '0 0 100 30', preserveAspectRatio: 'none', 'aria-hidden': true }, s('path', { class: 'area', d: `${line}L100,30L0,30Z` }), s('path', { d: line }));
}

export function notice(text, kind = '') {
  const box = h('div', { class: kind }, text);
  document.getElementById('notices').append(box);
  setTimeout(() => box.remove(), kind === 'bad' ? 12000 : 5000);
}
export function copyButton(label, text) {
  return h('button', { type: 'button', onclick: () => navigator.clipboard.writeText(text()).then(() => notice(`${label}: copied`, 'good'), (error) => notice(String(error), 'bad')) }, label);
}
/// What is safe to paste into a POSIX shell, whatever it holds.
export const quoted = (text) => (/^[\w./:@%+=,-]+$/.test(text) ? text : `'${String(text).replaceAll("'", `'\\''`)}'`);
