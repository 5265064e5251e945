// The shell: pages, address, refresh. The address carries the whole state, so every view can be sent to somebody.

import { clock, h, link, nextClock, notice, put } from './dom.js';
import { Refusal, forgetKey, get, hasKey } from './api.js';
import * as doctor from './doctor.js';
import * as overview from './overview.js';
import * as events from './events.js';
import * as consumers from './consumers.js';
import * as parked from './parked.js';
import * as sagas from './sagas.js';
import * as schemas from './schemas.js';
import * as replay from './replay.js';
import * as subscriptions from './subscriptions.js';

const PAGES = [
  ['overview', 'Overview', overview], ['events', 'Events', events], ['consumers', 'Consumers', consumers],
  ['parked', 'Parked', parked], ['sagas', 'Sagas', sagas], ['subscriptions', 'Push', subscriptions], ['replay', 'Replay', replay], ['schemas', 'Schemas', schemas], ['doctor', 'Doctor', doctor],
];
const REFRESH = 2000;

let leaving = new AbortController();

function place() {
  const [path, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [page = 'overview', ...rest] = path.split('/').map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  return { page: page || 'overview', rest, parameters: Object.fromEntries(new URLSearchParams(search)) };
}

/// Shows a page. `every` keeps it fresh; what it started ends when the page is left.
async function show() {
  leaving.abort();
  leaving = new AbortController();
  const signal = leaving.signal;
  const { page, rest, parameters } = place();
  const [, title, view] = PAGES.find(([name]) => name === page) ?? PAGES[0];
  document.title = `${title} · Tidewire`;
  for (const item of document.querySelectorAll('nav a')) item.toggleAttribute('aria-current', item.dataset.page === page);
  const main = document.getElementById('main');
  const body = h('div');
  put(main, body);
  const every = (work) => {
    const round = async () => {
      if (signal.aborted) return;
      try { await work(); } catch (error) { fail(body, error, signal); return; }
      setTimeout(round, document.hidden ? REFRESH * 5 : REFRESH);
    };
    return round();
  };
  try { await view.show(body, { rest, parameters, signal, every, again: show }); } catch (error) { fail(body, error, signal); }
}

function fail(body, error, signal) {
  if (signal.aborted || error.name === 'AbortError') return;
  if (!(error instanceof Refusal)) console.error(error);
  put(body, h('h1', {}, error instanceof Refusal && error.status === 404 ? 'Not found' : 'This did not work'), h('p', {}, error.message),
    error.code && h('p', { class: 'dim' }, 'code ', h('code', {}, error.code), ' · ', h('code', {}, `tidewire explain ${error.code}`)),
    h('button', { onclick: show }, 'Try again'));
}

function bar() {
  const button = h('button', { title: 'How times are shown', onclick: () => { nextClock(); button.textContent = `time: ${clock()}`; show(); } }, `time: ${clock()}`);
  const leave = hasKey() && h('button', { onclick: () => { forgetKey(); bar(); show(); } }, 'Forget key');
  const find = h('input', { type: 'search', placeholder: 'event, saga or key', 'aria-label': 'Find an event, a saga or a key', class: 'wide' });
  const search = h('form', { onsubmit: (submitted) => { submitted.preventDefault(); jump(find.value.trim()); } }, find);
  put(document.getElementById('bar'), h('a', { class: 'brand', href: '#/overview' }, 'Tidewire'), search, h('span', { class: 'grow' }), h('span', { id: 'pulse', class: 'dim' }), button, leave);
}

async function jump(text) {
  if (!text) return;
  if (text.includes('/')) { location.hash = `#/events?key=${encodeURIComponent(text)}`; return; }
  for (const kind of ['events', 'sagas']) {
    try { await get(`/v1/${kind}/${encodeURIComponent(text)}`); location.hash = `#/${kind}/${encodeURIComponent(text)}`; return; } catch (error) {
      if (!(error instanceof Refusal) || ![400, 404].includes(error.status)) { notice(error.message, 'bad'); return; }
    }
  }
  notice(`neither an event nor a saga has the id ${text}; a key is written kind/id`, 'bad');
}

put(document.getElementById('nav'), PAGES.map(([name, title]) => { const item = link(name, title); item.dataset.page = name; return item; }));
bar();
addEventListener('hashchange', show);
show();
