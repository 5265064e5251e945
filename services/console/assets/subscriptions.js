// HTTP endpoints as consumers: who is sent what, and how it goes.

import { badge, empty, facts, h, jsonBlock, link, notice, number, put, table, time } from './dom.js';
import { get, query, send } from './api.js';
import { ask, show as tell } from './act.js';

export async function show(body, context) {
  const [id] = context.rest;
  return id ? one(body, id, context) : list(body, context);
}

async function list(body, { parameters, signal }) {
  const found = await get(query('/v1/subscriptions', { cursor: parameters.cursor, limit: 100 }), signal);
  put(body, h('h1', {}, 'Push subscriptions'), h('p', { class: 'dim' }, 'Any HTTP endpoint as a consumer: in order per key, retried, parked when it keeps failing; an event in its answer is emitted.'),
    h('div', { class: 'actions' }, h('button', { class: 'main', onclick: create }, 'New subscription …')),
    table([
      ['id', (row) => link(`subscriptions/${row.id}`, row.id), 'nowrap'], ['', (row) => badge(row.state)], ['circuit', (row) => badge(row.delivery.circuit)], ['sink', (row) => row.sink, 'mono clip'],
      ['types', (row) => row.types.join(', ') || 'all', 'clip'], ['waiting', (row) => number(row.delivery.lag), 'num'], ['parked', (row) => number(row.delivery.parked), 'num'], ['delivered', (row) => number(row.delivery.delivered), 'num'],
      ['failed', (row) => number(row.delivery.failed), 'num'], ['last success', (row) => time(row.delivery.last_success), 'nowrap'],
    ], found.items, empty('Nobody is sent anything.', 'tidewire subscriptions create --sink https://example.org/hook --type user.followed')),
    found.cursor && h('p', {}, link('subscriptions', 'more →', { cursor: found.cursor })));
}

async function create() {
  const entered = await ask('New push subscription', 'The endpoint is asked first whether it wants this. The secret that signs deliveries is shown once.', [
    { name: 'sink', label: 'Sink (https URL)', required: true, hint: 'https://example.org/hook' }, { name: 'types', label: 'Types, separated by spaces; empty for all', hint: 'user.followed document.*' },
    { name: 'sql', label: 'CloudEvents SQL, or empty', hint: 'sequence > 1' }, { name: 'description', label: 'Description', hint: 'whose it is' }], { verb: 'Create' });
  if (!entered) return;
  const { sink, types, sql, description } = entered;
  try {
    const made = await send('POST', '/v1/subscriptions', { sink, types: types.split(/\s+/).filter(Boolean), ...(sql ? { filters: [{ sql }] } : {}), ...(description ? { description } : {}) });
    await tell('Keep this secret now', 'It signs every delivery and is not shown again.', made.secret);
    location.hash = `#/subscriptions/${made.id}`;
  } catch (error) { notice(`${error.message} (${error.code})`, 'bad'); }
}

async function one(body, id, { every, signal, again }) {
  const at = `/v1/subscriptions/${encodeURIComponent(id)}`;
  const act = (label, work, danger) => h('button', { class: danger ? 'danger' : undefined, onclick: async () => { try { await work(); again(); } catch (error) { notice(`${label}: ${error.message} (${error.code})`, 'bad'); } } }, label);
  const confirmed = async (title, explanation, path, method = 'POST', more) => {
    const entered = await ask(title, explanation, method === 'DELETE' ? [] : [{ name: 'reason', label: 'Reason', hint: 'kept in the audit log' }], { verb: title, danger: method === 'DELETE' });
    return entered && send(method, path, method === 'DELETE' ? undefined : { reason: entered.reason || null, ...more });
  };
  await every(async () => {
    const row = await get(at, signal);
    const { delivery } = row;
    const failure = delivery.last_failure;
    put(body, h('h1', {}, row.id), h('div', { class: 'actions' }, badge(row.state),
      row.state === 'active' ? act('Pause', () => confirmed('Pause', 'Its events wait until it is resumed.', `${at}/pause`)) : act('Resume', () => confirmed('Resume', 'Deliveries go on where they stopped.', `${at}/resume`)),
      act('Test', async () => { const said = await send('POST', `${at}/test`); notice(`the endpoint has ${said.outcome} it${said.reason ? `: ${said.reason}` : ''}`, said.outcome === 'taken' ? 'good' : 'bad'); }),
      act('Rotate secret', async () => { const made = await confirmed('Rotate secret', 'For a day deliveries carry a signature of both the old and the new secret.', `${at}/rotate`); if (made) await tell('Keep this secret now', 'It is not shown again.', made.secret); }),
      act('Delete', async () => { if (await confirmed('Delete', 'What it had yet to deliver is gone with it.', at, 'DELETE') !== null) location.hash = '#/subscriptions'; }, true), link(`consumers/${encodeURIComponent(row.consumer)}`, 'as a consumer'), link('parked', 'its parked events', { consumer: row.consumer })),
    h('div', { class: 'card' }, facts([['sink', h('code', {}, row.sink)], ['description', row.description], ['owner', row.owner], ['types', row.types.join(', ') || 'all'], ['source', row.source], ['replies as', row.reply_source], ['why it is disabled', row.disabled && `${row.disabled.code}: ${row.disabled.reason}`], ['created', time(row.created)], ['changed', time(row.changed)]])),
    h('h2', {}, 'Deliveries'), h('div', { class: 'card' }, facts([['circuit', badge(delivery.circuit)], ['waiting', number(delivery.lag)], ['in flight', number(delivery.in_flight)], ['retrying', number(delivery.retrying)], ['parked', number(delivery.parked)], ['delivered', number(delivery.delivered)], ['failed', `${number(delivery.failed)}, ${number(delivery.consecutive_failures)} in a row`], ['last success', time(delivery.last_success)], ['last failure', failure && [time(failure.at), ' ', h('code', {}, failure.code), ' ', failure.reason]]])),
    h('h2', {}, 'Filters and habits'), jsonBlock({ filters: row.filters, config: row.config, secrets: row.secrets }));
  });
}
