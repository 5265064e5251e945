// What could not be handled, by cause; handed over again, changed, or dropped.

import { badge, copyButton, empty, eventLink, facts, h, href, jsonBlock, link, notice, number, put, quoted, table, time } from './dom.js';
import { get, query, send } from './api.js';
import { REASON, action, ask } from './act.js';

const LIMIT = 100;

export async function show(body, context) {
  const [ordinal] = context.rest;
  return ordinal ? one(body, ordinal, context) : list(body, context);
}

async function list(body, { parameters, signal, again }) {
  const { consumer, key, cursor } = parameters;
  const [found, groups] = await Promise.all([get(query('/v1/parked', { consumer, key, cursor, limit: LIMIT }), signal), get(query('/v1/parked/groups', { consumer }), signal).catch(() => null)]);
  const columns = [
    ['#', (row) => link(`parked/${row.ordinal}`, row.ordinal), 'num'], ['since', (row) => time(row.since), 'nowrap'],
    ['consumer', (row) => link('parked', row.consumer, { consumer: row.consumer }), 'nowrap'], ['type', (row) => row.type, 'nowrap'],
    ['key', (row) => link('parked', row.key, { consumer, key: row.key }), 'mono clip'], ['cause', (row) => h('span', { title: row.reason }, h('code', {}, row.code), ' ', row.reason), 'clip'], ['attempts', (row) => row.attempts, 'num'],
  ];
  put(body, h('h1', {}, 'Parked events'), h('p', { class: 'dim' }, 'What failed for good is set aside with its reason; what follows on the same key waits behind it, in order. Other keys flow.'),
    groups?.items?.length ? [h('h2', {}, 'By cause'), table([
      ['consumer', (row) => link('parked', row.consumer, { consumer: row.consumer })], ['type', (row) => row.type], ['cause', (row) => h('code', {}, row.code)], ['events', (row) => number(row.count ?? row.events), 'num'],
      ['first', (row) => time(row.first), 'nowrap'], ['last', (row) => time(row.last), 'nowrap'], ['example', (row) => row.reason ?? row.example ?? '', 'clip'],
    ], groups.items, '')] : null,
    h('h2', {}, consumer || key ? `Of ${[consumer, key].filter(Boolean).join(', ')}` : 'One by one'),
    h('div', { class: 'actions' }, consumer && redriveButton(consumer, key, again), (consumer || key) && link('parked', 'all of them')),
    table(columns, found.items, empty('Nothing is parked.', 'tidewire parked list')), found.cursor && h('p', {}, link('parked', 'more →', { ...parameters, cursor: found.cursor })));
}

function redriveButton(consumer, key, again) {
  const what = key ? `the parked events of ${consumer} with the key ${key}` : `all parked events of ${consumer}`;
  return h('button', { class: 'main', onclick: async () => {
    const entered = await ask('Redrive', `Hands ${what} to it again, in order, and to nobody else. What fails again stays parked.`, [{ name: 'limit', label: 'At most', kind: 'number', value: 100, required: true }, REASON], { verb: 'Redrive' });
    if (!entered) return;
    try {
      const told = await send('POST', '/v1/parked/redrive', { consumer, ...(key ? { key } : {}), limit: Number(entered.limit), reason: entered.reason });
      notice(`${told.handled} handled, ${told.failed} failed again`, told.failed ? 'bad' : 'good');
      again();
    } catch (error) { notice(error.message, 'bad'); }
  } }, 'Redrive …');
}

async function one(body, ordinal, { signal, again }) {
  const at = `/v1/parked/${encodeURIComponent(ordinal)}`;
  const found = await get(at, signal);
  const event = found.envelope ?? found.event;
  const type = event.type ?? event.ty;
  const key = event.partitionkey ?? event.key;
  const { data, ...attributes } = event;
  const away = () => { location.hash = href('parked', { consumer: found.consumer }); };
  put(body, h('h1', {}, `Parked ${ordinal}: ${type}`), h('div', { class: 'actions' }, redriveButton(found.consumer, key, away),
    action({ label: 'Edit …', explanation: 'The changed event gets a new id and a link to this one, and is checked against its schema; type, source and key stay.', fields: [{ name: 'data', label: 'Data (JSON)', kind: 'text', value: JSON.stringify(data ?? null, null, 2) }], path: `${at}/edit`, body: ({ data: text, reason }) => ({ data: JSON.parse(text), reason }), dryRun: true, again: away }),
    action({ label: 'Drop …', explanation: 'It will never be handled by this consumer. What waits behind it on its key goes on.', path: `${at}/drop`, danger: true, dryRun: true, again: away }),
    copyButton('Copy command', () => `tidewire parked show ${quoted(ordinal)}`)),
  h('div', { class: 'card' }, facts([['consumer', link(`consumers/${encodeURIComponent(found.consumer)}`, found.consumer)], ['cause', [badge('parked'), ' ', h('code', {}, found.code)]], ['reason', found.reason], ['attempts', found.attempts], ['since', time(found.since)], ['event', eventLink(event.id)], ['key', link('events', key, { key })]])),
  found.history && [h('h2', {}, 'History'), jsonBlock(found.history)], h('h2', {}, 'Data'), jsonBlock(data ?? null), h('h2', {}, 'Attributes'), jsonBlock(attributes));
}
