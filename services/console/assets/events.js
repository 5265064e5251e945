// The log: browsed, live, and one event with its causes and effects.

import { badge, copyButton, empty, eventLink, facts, h, href, jsonBlock, link, put, quoted, table, time } from './dom.js';
import { get, query, stream } from './api.js';

const SHOWN_LIVE = 500;
const LIMIT = 50;

export async function show(body, context) {
  const [first] = context.rest;
  if (first === 'live') return live(body, context);
  return first ? one(body, first, context) : list(body, context);
}

function filter(parameters, page, more = []) {
  const field = (name, label, hint, kind) => h('label', {}, label, h('input', { name, value: parameters[name] ?? '', placeholder: hint, class: kind }));
  return h('form', { class: 'filter', onsubmit: (submitted) => {
    submitted.preventDefault();
    const wanted = Object.fromEntries(new FormData(submitted.target));
    const to = href(page, wanted);
    if (location.hash === to) dispatchEvent(new HashChangeEvent('hashchange')); else location.hash = to;
  } }, field('type', 'type', 'user.followed'), field('key', 'key', 'user/ana'), field('flow', 'flow', 'correlation id'),
  field('filter', 'CloudEvents SQL', "type LIKE 'user.%' AND sequence > 5", 'wide'), h('button', { class: 'main' }, 'Show'), more);
}

const wanted = ({ type, key, flow, filter: expression, cursor }) => ({ type, key, flow, filter: expression, cursor });

async function list(body, { parameters, signal }) {
  const order = parameters.order ?? 'newest';
  const found = await get(query('/v1/events', { ...wanted(parameters), order: order === 'newest' ? 'newest' : undefined, limit: LIMIT }), signal);
  const columns = [
    ['position', (row) => row.position, 'num'],
    ['time', (row) => time(row.event.time), 'nowrap'],
    ['type', (row) => link('events', row.event.type, { type: row.event.type.replace(/\.v\d+$/, '') }), 'nowrap'],
    ['key', (row) => link('events', row.event.partitionkey ?? '–', { key: row.event.partitionkey }), 'mono clip'],
    ['id', (row) => eventLink(row.event.id), 'nowrap'],
    ['data', (row) => h('span', { class: 'mono dim' }, JSON.stringify(row.event.data ?? row.event.data_base64 ?? null).slice(0, 160)), 'clip'],
  ];
  put(body, h('h1', {}, 'Events'), filter(parameters, 'events', [link('events/live', 'live', wanted(parameters))]),
    table(columns, found.items, empty('No event is like this.', 'tidewire events list')),
    h('p', {}, parameters.cursor && link('events', 'newest', { ...parameters, cursor: '' }), ' ', found.cursor && link('events', 'older →', { ...parameters, cursor: found.cursor })));
}

async function live(body, { parameters, signal }) {
  let isPaused = false, seen = 0, skipped = 0;
  const lines = h('div', { class: 'tail mono', role: 'log', tabindex: '0' });
  const count = h('span', { class: 'dim' }, 'waiting for events');
  const pause = h('button', { onclick: () => { isPaused = !isPaused; pause.textContent = isPaused ? 'Go on' : 'Pause'; } }, 'Pause');
  put(body, h('h1', {}, 'Events, live'), filter(parameters, 'events/live', [link('events', 'browse', wanted(parameters))]), h('div', { class: 'actions' }, pause, h('button', { onclick: () => lines.replaceChildren() }, 'Clear'), count), lines);
  let from = parameters.from ?? 'now';
  while (!signal.aborted) {
    try {
      for await (const sent of stream(query('/v1/events/stream', { ...wanted(parameters), cursor: undefined, from }), signal)) {
        if (sent.id) from = sent.id;
        let event;
        try { event = JSON.parse(sent.data); } catch { continue; }
        event = event.event ?? event;
        if (!event.type) continue;
        seen += 1;
        if (isPaused) skipped += 1; else add(lines, sent.id, event);
        count.textContent = `${seen} seen${skipped ? `, ${skipped} of them while paused (in the log all the same)` : ''}`;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500) throw error;
      count.textContent = `connection lost, trying again (${error.message})`;
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

function add(lines, position, event) {
  const isAtEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
  lines.append(h('div', {}, h('span', { class: 'dim' }, position), time(event.time), eventLink(event.id, event.type), h('span', {}, event.partitionkey, ' ', h('span', { class: 'dim' }, JSON.stringify(event.data ?? null).slice(0, 200)))));
  while (lines.childElementCount > SHOWN_LIVE) lines.firstChild.remove();
  if (isAtEnd) lines.scrollTop = lines.scrollHeight;
}

async function one(body, id, { signal }) {
  const at = `/v1/events/${encodeURIComponent(id)}`;
  const [found, why] = await Promise.all([get(at, signal), get(`${at}/why`, signal).catch((error) => ({ error }))]);
  const event = found.event ?? found;
  const { data, data_base64: binary, ...attributes } = event;
  const links = { causationid: eventLink, id: (value) => h('code', {}, value), partitionkey: (value) => link('events', value, { key: value }), correlationid: (value) => link('events', value, { flow: value }), type: (value) => link('schemas', value, { type: value }), time, recordedtime: time };
  const shown = Object.entries(attributes).map(([name, value]) => [name, (links[name] ?? ((plain) => String(plain)))(value)]);
  put(body, h('h1', {}, event.type), h('div', { class: 'actions' }, copyButton('Copy JSON', () => JSON.stringify(event, null, 2)), copyButton('Copy as curl', () => `curl -s ${quoted(`${location.origin}${at}`)}`), copyButton('Copy command', () => `tidewire events why ${quoted(id)}`)),
    h('div', { class: 'card' }, facts([['position', found.position], ...shown])),
    h('h2', {}, 'Data'), binary ? h('pre', {}, binary) : jsonBlock(data ?? null),
    h('h2', {}, 'Why, and what came of it'), why.error ? h('p', { class: 'dim' }, why.error.message) : causes(why, id));
}

/// What led to it, then what became of it and of what followed, as a tree.
function causes(why, id) {
  const cause = (item) => h('li', {}, eventLink(item.event.id, item.event.type), ' ', h('span', { class: 'dim' }, item.event.source, ' '), time(item.event.time));
  return h('div', { class: 'card' }, why.causes.length ? [h('div', { class: 'dim' }, 'led to by, nearest first'), h('ul', { class: 'tree root' }, why.causes.map(cause))] : null,
    h('ul', { class: 'tree root' }, node(why.tree, id)), why.complete ? null : h('p', { class: 'warn' }, 'There is more than is shown here.'));
}

function node(item, id) {
  const outcome = (row) => h('span', { class: 'outcome' }, link(`consumers/${encodeURIComponent(row.consumer)}`, row.consumer), ' ', row.ordinal ? link(`parked/${row.ordinal}`, badge(row.outcome)) : badge(row.outcome), row.reason && h('span', { class: 'dim' }, ' ', row.reason));
  const effect = (row) => h('li', {}, `${row.kind} to ${row.target} `, badge(row.state));
  const part = item.saga && link(`sagas/${item.saga.id}`, [item.saga.part, item.saga.step, 'of', item.saga.type || 'a saga'].filter(Boolean).join(' '));
  const read = item.consumers?.length ? [h('li', {}, item.consumers.map(outcome))] : [];
  const acted = item.acted ? [h('li', {}, h('span', { class: 'dim' }, `${item.acted.actor}: ${item.acted.verb} ${item.acted.target} (${item.acted.reason})`))] : [];
  const inside = [...read, ...acted, ...(item.effects ?? []).map(effect), ...(item.followed ?? []).map((inner) => node(inner, id))];
  return h('li', {}, item.id === id ? h('strong', {}, item.type) : eventLink(item.id, item.type), ' ', h('span', { class: 'dim' }, item.source, ' '), part && [part, ' '], time(item.time), inside.length ? h('ul', { class: 'tree' }, inside) : null);
}

