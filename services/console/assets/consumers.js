// Who reads, and how far behind.

import { badge, empty, facts, h, link, number, put, table } from './dom.js';
import { get } from './api.js';
import { action } from './act.js';

const state = (row) => (row.paused ? 'paused' : row.members === 0 ? 'down' : row.pending > 0 || row.retrying > 0 ? 'pending' : 'ok');

export async function show(body, context) {
  const [name] = context.rest;
  return name ? one(body, name, context) : list(body, context);
}

async function list(body, { every, signal }) {
  await every(async () => {
    const found = await get('/v1/consumers', signal);
    put(body, h('h1', {}, 'Consumers'), table([
      ['consumer', (row) => link(`consumers/${encodeURIComponent(row.name)}`, row.name)], ['kind', (row) => String(row.kind).replaceAll('_', ' ')], ['', (row) => badge(state(row))],
      ['pending', (row) => number(row.pending), 'num'], ['in flight', (row) => number(row.in_flight), 'num'], ['retrying', (row) => number(row.retrying), 'num'],
      ['parked', (row) => (row.parked ? link('parked', number(row.parked), { consumer: row.name }) : '0'), 'num'], ['handled', (row) => number(row.handled), 'num'], ['processes', (row) => number(row.members), 'num'],
    ], found.items, empty('No consumer is declared here.', 'tidewire consumers list')));
  });
}

async function one(body, name, { every, signal, again }) {
  const at = `/v1/consumers/${encodeURIComponent(name)}`;
  await every(async () => {
    const row = await get(at, signal);
    const pause = row.paused
      ? action({ label: 'Resume', explanation: 'It goes on where it stopped; nothing was lost meanwhile.', path: `${at}/resume`, again })
      : action({ label: 'Pause', explanation: 'Its events wait on the broker until it is resumed. Everybody else goes on.', path: `${at}/pause`, danger: true, again });
    put(body, h('h1', {}, name), h('div', { class: 'actions' }, badge(state(row)), pause, link('parked', 'its parked events', { consumer: name })),
      h('div', { class: 'card' }, facts([['kind', String(row.kind)], ['pending', number(row.pending)], ['in flight', number(row.in_flight)], ['retrying', number(row.retrying)], ['parked', number(row.parked)], ['handled', number(row.handled)], ['processes', number(row.members)], ['paused', row.paused && (row.paused.reason ?? 'yes')]])),
      h('h2', {}, 'Reads'), h('div', { class: 'card' }, (row.types ?? []).map((type) => [link('schemas', type, { type }), ' '])));
  });
}
