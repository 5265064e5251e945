// Workflows: which ones, where they are, and what happened when.

import { badge, copyButton, empty, eventLink, facts, h, href, jsonBlock, link, put, quoted, s, span, table, time, tone } from './dom.js';
import { get, query } from './api.js';
import { action } from './act.js';

const LIMIT = 50;
const STATUSES = ['running', 'compensating', 'stuck', 'stalled', 'completed', 'undone'];

export async function show(body, context) {
  const [id] = context.rest;
  return id ? one(body, id, context) : list(body, context);
}

async function list(body, { parameters, signal }) {
  const { status, type, cursor } = parameters;
  const found = await get(query('/v1/sagas', { status, type, cursor, limit: LIMIT }), signal);
  const columns = [
    ['status', (row) => badge(row.status)], ['saga', (row) => link('sagas', row.type, { type: row.type }), 'nowrap'], ['id', (row) => link(`sagas/${row.id}`, h('span', { class: 'mono' }, row.id)), 'nowrap'],
    ['key', (row) => link('events', row.key, { key: row.key }), 'mono clip'], ['step', (row) => row.step ?? '–'], ['why', (row) => row.code && h('span', { title: row.reason }, h('code', {}, row.code), ' ', row.reason), 'clip'],
    ['started', (row) => time(row.started), 'nowrap'], ['changed', (row) => time(row.updated), 'nowrap'],
  ];
  const chips = [undefined, ...STATUSES].map((state) => { const item = link('sagas', state ?? 'all', { type, status: state }); if (state === status) item.setAttribute('aria-current', 'true'); return h('span', { class: state === status ? 'badge' : 'dim' }, item); });
  put(body, h('h1', {}, 'Sagas'), h('div', { class: 'actions' }, chips), table(columns, found.items, empty('No saga is like this.', 'tidewire sagas list')), h('p', {}, cursor && link('sagas', 'first page', { status, type }), ' ', found.cursor && link('sagas', 'older →', { status, type, cursor: found.cursor })));
}

const STEP = { name: 'step', label: 'Step (where it could be several)', hint: 'as in the timeline' };
const OUTPUT = { name: 'output', label: 'What the reply would have said: its data as JSON, or empty', kind: 'text', value: '' };
const VERBS = [
  ['retry', 'Retry', 'Asks again for the step that failed or is waited for, or for the undo that is stuck.', [STEP]],
  ['skip', 'Skip a step', 'Goes on without the reply of a step.', [STEP, OUTPUT]],
  ['done', 'Mark done', 'Counts a step as done by hand, or as undone.', [STEP, OUTPUT]],
  ['forward', 'Go forward', 'Stops undoing and goes forward again.', []],
  ['compensate', 'Undo everything', 'Turns back: what happened is undone in reverse order.', [], true],
  ['cancel', 'Cancel', 'Turns back, if that can do no harm.', [], true],
];

async function one(body, id, { every, signal, again }) {
  const at = `/v1/sagas/${encodeURIComponent(id)}`;
  let last;
  await every(async () => {
    const saga = await get(at, signal);
    const text = JSON.stringify(saga);
    // Only what changed is drawn again: folded and selected text stays as it is.
    if (text === last) return;
    last = text;
    const isOver = ['completed', 'undone'].includes(saga.status);
    const verbs = isOver ? [] : VERBS.map(([verb, label, explanation, fields, danger]) => action({
      label, explanation, fields, danger, path: `${at}/${verb}`, dryRun: true, again,
      body: ({ step, output, reason }) => ({ reason, revision: saga.revision, ...(step ? { step } : {}), ...(output ? { output: JSON.parse(output) } : {}) }),
    }));
    const signals = saga.steps.filter((step) => step.status === 'waiting').map((step) => action({
      label: `Signal ${step.name}`, explanation: 'Gives the step what it waits for.', fields: [{ name: 'data', label: 'Data (JSON)', kind: 'text', value: 'null' }], path: `${at}/signals/${encodeURIComponent(step.name)}`, dryRun: true, again,
      body: ({ data, reason }) => ({ data: JSON.parse(data), reason }),
    }));
    put(body, h('h1', {}, saga.type), h('div', { class: 'actions' }, badge(saga.status), verbs, signals, copyButton('Copy command', () => `tidewire sagas show ${quoted(id)}`)),
      h('div', { class: 'card' }, facts([['id', h('code', {}, saga.id)], ['key', link('events', saga.key, { key: saga.key })], ['step', saga.step], ['started by', eventLink(saga.cause)], ['flow', link('events', saga.correlationid, { flow: saga.correlationid })], ['took', span(saga.seconds)], ['started', time(saga.started)], ['definition', `version ${saga.definition}, ${saga.fingerprint}`],
        ['why it turned back', saga.failure && [h('code', {}, saga.failure.code), ' ', saga.failure.reason]], ['why it is stuck', saga.stuck && [h('code', {}, saga.stuck.code), ' ', saga.stuck.reason]]])),
      h('h2', {}, 'When'), lanes(saga), h('h2', {}, 'What happened'), history(saga), h('h2', {}, 'What it knows'), jsonBlock(saga.state));
  });
}

const history = (saga) => table([['time', (row) => time(row.at), 'nowrap'], ['after', (row) => span((Date.parse(row.at) - Date.parse(saga.started)) / 1000), 'num'], ['what', (row) => badge(row.what)], ['step', (row) => row.step ?? ''], ['attempt', (row) => row.attempt ?? '', 'num'], ['event', (row) => (row.event ? eventLink(row.event, `${row.event.slice(0, 8)}…`) : '')], ['reason', (row) => row.reason ?? '']], saga.history, empty('Nothing yet.'));

const LEFT = 150, WIDTH = 900, LANE = 26, TOP = 26;

/// One lane per step: a bar per attempt, forward in the colour of its outcome, back in the colour of undo, dashed
/// while nobody has answered.
function lanes(saga) {
  const start = Date.parse(saga.started);
  const isOver = ['completed', 'undone'].includes(saga.status);
  const end = Math.max(isOver ? Date.parse(saga.updated) : Date.now(), start + 1);
  const x = (at) => LEFT + ((Date.parse(at) - start) / (end - start)) * (WIDTH - LEFT - 60);
  const bars = attempts(saga);
  const height = TOP + saga.steps.length * LANE + 12;
  const svg = s('svg', { class: 'lanes', viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': `Timeline of ${saga.steps.length} steps over ${span((end - start) / 1000)}` });
  for (let i = 0; i <= 4; i += 1) {
    const at = LEFT + (i / 4) * (WIDTH - LEFT - 60);
    svg.append(s('line', { x1: at, x2: at, y1: TOP - 8, y2: height - 6 }), s('text', { class: 'dim', x: at, y: 13, 'text-anchor': 'middle' }, span(((end - start) * i) / 4000)));
  }
  saga.steps.forEach((step, lane) => {
    const y = TOP + lane * LANE;
    svg.append(s('text', { x: 10, y: y + 14 }, step.name.length > 18 ? `${step.name.slice(0, 17)}…` : step.name));
    for (const bar of bars.filter((found) => found.step === step.name)) {
      const from = x(bar.from), to = bar.to ? x(bar.to) : LEFT + (WIDTH - LEFT - 60);
      const half = bar.isUndo ? 9 : 0;
      svg.append(s('rect', { x: from, y: y + 2 + half, width: Math.max(to - from, 3), height: 8, rx: 2, class: bar.to ? (bar.isUndo ? (bar.outcome === 'good' ? 's-undo' : 's-bad') : `s-${bar.outcome}`) : 's-wait' },
        s('title', {}, `${bar.isUndo ? 'undo of ' : ''}${step.name}, attempt ${bar.attempt}: ${bar.what} ${bar.to ? `after ${span((Date.parse(bar.to) - Date.parse(bar.from)) / 1000)}` : 'waiting'}`)));
      if (bar.attempt > 1) svg.append(s('text', { class: 'dim', x: Math.max(to, from + 3) + 3, y: y + 10 + half }, `×${bar.attempt}`));
    }
  });
  const turned = saga.history.find((entry) => entry.what === 'turned_back');
  if (turned) svg.append(s('path', { class: 'turn', d: `M${x(turned.at)},${TOP - 8}V${height - 6}` }, s('title', {}, 'turned back')));
  return svg;
}

const ENDS = { done: 'good', failed: 'bad', deadline_passed: 'bad', unknown: 'bad', undone: 'good', undo_failed: 'bad' };

function attempts(saga) {
  const open = new Map();
  const bars = [];
  for (const entry of saga.history) {
    if (entry.what === 'requested' || entry.what === 'undo_requested') {
      const bar = { step: entry.step, attempt: entry.attempt ?? 1, from: entry.at, isUndo: entry.what === 'undo_requested', what: 'waiting' };
      open.set(`${entry.step}/${bar.isUndo}`, bar);
      bars.push(bar);
    } else if (ENDS[entry.what]) {
      const isUndo = entry.what.startsWith('undo');
      const bar = open.get(`${entry.step}/${isUndo}`) ?? open.get(`${entry.step}/${!isUndo}`);
      if (bar && !bar.to) Object.assign(bar, { to: entry.at, outcome: ENDS[entry.what], what: entry.what.replaceAll('_', ' ') });
    }
  }
  return bars;
}

export { attempts, href, tone };
