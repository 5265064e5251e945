// What is running, how far it is, and what needs somebody.

import { badge, bytes, empty, h, href, link, number, put, spark, time } from './dom.js';
import { get } from './api.js';

const POINTS = 90;
const rates = { appended: [], handled: [] };
let before;

export async function show(body, { every, signal }) {
  const open = ['running', 'compensating', 'stuck', 'stalled'];
  await every(async () => {
    const [status, ready, ...sagas] = await Promise.all([get('/v1/status', signal), get('/readyz', signal).catch((error) => error.problem ?? { status: 'unreachable' }), ...open.map((state) => get(`/v1/sagas?status=${state}&limit=50`, signal).catch(() => ({ items: [] })))]);
    measure(status);
    const count = (found) => `${found.items.length}${found.cursor ? '+' : ''}`;
    put(body, h('h1', {}, 'Overview'), path(status), needs(status, sagas, open, count),
      h('h2', {}, 'Rate'), h('div', { class: 'cards' }, rate('events appended', rates.appended), rate('events handled', rates.handled)),
      h('h2', {}, 'How far behind'), lag(status.consumers),
      h('h2', {}, 'Standing on'), standing(status, ready));
  });
}

function measure(status) {
  const now = { at: Date.parse(status.time), appended: status.store.head, handled: status.consumers.reduce((sum, consumer) => sum + consumer.handled, 0) };
  if (before && now.at > before.at) {
    const seconds = (now.at - before.at) / 1000;
    for (const name of Object.keys(rates)) {
      rates[name].push(Math.max(0, now[name] - before[name]) / seconds);
      if (rates[name].length > POINTS) rates[name].shift();
    }
  }
  before = now;
}

const arrow = () => h('span', { class: 'arrow', 'aria-hidden': true }, '→');
const card = (title, n, below, to) => h(to ? 'a' : 'div', { class: 'card', href: to }, h('div', { class: 'dim' }, title), h('div', { class: 'n' }, n), h('div', { class: 'dim' }, below));

function path(status) {
  const behind = status.relays.reduce((sum, relay) => sum + relay.behind, 0);
  const pending = status.consumers.reduce((sum, consumer) => sum + consumer.pending, 0);
  const handled = status.consumers.reduce((sum, consumer) => sum + consumer.handled, 0);
  return h('div', { class: 'path' }, card('the log', number(status.store.head), `${status.store.backend} · ${bytes(status.store.bytes)}`, href('events')), arrow(),
    card('relay', number(behind), 'events to publish'), arrow(), card('broker', number(status.extent.last), status.broker.backend), arrow(),
    card('consumers', number(pending), `waiting · ${number(handled)} handled`, href('consumers')));
}

function needs(status, sagas, open, count) {
  const stuck = sagas[open.indexOf('stuck')], stalled = sagas[open.indexOf('stalled')];
  const silent = status.consumers.filter((consumer) => consumer.members === 0 && !consumer.paused);
  const found = [
    status.parked > 0 && ['bad', `${number(status.parked)} events are parked`, href('parked')],
    stuck.items.length && ['bad', `${count(stuck)} sagas are stuck`, href('sagas', { status: 'stuck' })],
    stalled.items.length && ['warn', `${count(stalled)} sagas are stalled`, href('sagas', { status: 'stalled' })],
    silent.length && ['warn', `${silent.length} consumers have no process: ${silent.slice(0, 3).map((consumer) => consumer.name).join(', ')}${silent.length > 3 ? ' …' : ''}`, href('consumers')],
  ].filter(Boolean);
  const running = `${count(sagas[open.indexOf('running')])} running, ${count(sagas[open.indexOf('compensating')])} turning back`;
  return [h('h2', {}, 'Needs somebody'), h('div', { class: 'card' }, found.length ? found.map(([kind, text, to]) => h('div', {}, h('a', { class: kind, href: to }, text))) : h('div', { class: 'good' }, 'Nothing: no parked events, no stuck or stalled sagas.'), h('div', { class: 'dim' }, 'Sagas: ', link('sagas', running), ' · ', link('events', 'who changed what by hand', { type: 'operator.acted' })))];
}

const rate = (title, points) => h('div', { class: 'card' }, h('div', { class: 'dim' }, title), h('div', { class: 'n' }, points.length ? `${number(Math.round(points.at(-1) * 10) / 10)}/s` : '–'), spark(points));

function lag(consumers) {
  if (!consumers.length) return h('div', { class: 'card empty' }, empty('No consumers here.', 'tidewire consumers list'));
  const top = Math.max(...consumers.map((consumer) => consumer.pending), 1);
  const rows = [...consumers].sort((a, b) => b.pending - a.pending || a.name.localeCompare(b.name));
  return h('div', { class: 'card lag' }, rows.map((consumer) => [link(`consumers/${encodeURIComponent(consumer.name)}`, consumer.name),
    h('div', { class: 'track' }, h('div', { class: consumer.retrying ? 'fill over' : 'fill', style: { width: `${(consumer.pending / top) * 100}%` } })),
    h('span', {}, number(consumer.pending), consumer.parked ? h('span', { class: 'bad' }, ` · ${number(consumer.parked)} parked`) : null)]));
}

function standing(status, ready) {
  const check = ({ name, status: state, ms, detail }) => h('div', { class: 'card' }, h('div', { class: 'dim' }, name), badge(state), ' ', ms !== undefined && h('span', { class: 'dim' }, `${ms} ms`), detail && h('div', { class: 'dim' }, detail));
  return h('div', { class: 'cards' }, h('div', { class: 'card' }, h('div', { class: 'dim' }, 'this process'), badge(ready.status)), (ready.checks ?? []).map(check),
    h('div', { class: 'card' }, h('div', { class: 'dim' }, 'durability'), `log ${status.store.durability}, broker ${status.broker.durability}`),
    h('div', { class: 'card' }, h('div', { class: 'dim' }, 'version'), `${status.version} · schema ${status.store.schema}`),
    h('div', { class: 'card' }, h('div', { class: 'dim' }, 'its clock'), time(status.time)));
}
