// Replays: planned first, applied only as planned, followed to their end; and projections rebuilt.

import { badge, empty, facts, h, href, jsonBlock, link, notice, number, put, span, table, time } from './dom.js';
import { get, query, send } from './api.js';
import { REASON, action, ask } from './act.js';

const KINDS = [['consumer', 'a consumer, once more'], ['new', 'a new consumer'], ['projection', 'a projection, rebuilt'], ['domain', 'another domain of the broker']];

export async function show(body, context) {
  const [first, id] = context.rest;
  if (first === 'plan') return plan(body, context);
  return first ? one(body, first, context) : list(body, context, id);
}

async function list(body, { parameters, signal, again }) {
  const [jobs, projections] = await Promise.all([get(query('/v1/replays', { cursor: parameters.cursor, limit: 50 }), signal), get('/v1/projections', signal)]);
  const target = (terms) => (terms?.target ? `${terms.target.kind} ${terms.target.name ?? ''}` : '–');
  put(body, h('h1', {}, 'Replays'), h('p', { class: 'dim' }, 'A plan says what would happen and changes nothing. Only a plan can be applied, and effects are muted.'),
    h('div', { class: 'actions' }, h('a', { class: 'badge', href: href('replay/plan') }, 'Plan a replay …')),
    table([['id', (row) => link(`replay/${encodeURIComponent(row.id)}`, h('span', { class: 'mono' }, row.id)), 'nowrap'], ['', (row) => badge(row.state)], ['to', (row) => target(row.terms)], ['done', (row) => progress(row)], ['left', (row) => span(row.seconds_left), 'num'], ['by', (row) => row.actor], ['why', (row) => row.reason, 'clip'], ['begun', (row) => time(row.begun), 'nowrap']], jobs.items, empty('Nothing was ever replayed.', 'tidewire replay plan --help')),
    jobs.cursor && h('p', {}, link('replay', 'older →', { cursor: jobs.cursor })),
    h('h2', {}, 'Projections'), table([['projection', (row) => link(`consumers/${encodeURIComponent(row.name)}`, row.name)], ['generation', (row) => row.generation, 'num'], ['rows', (row) => number(row.rows), 'num'], ['behind', (row) => number(row.behind), 'num'], ['keeps', (row) => row.collections.join(', '), 'clip'],
      ['', (row) => (row.rebuild ? link(`replay/${encodeURIComponent(row.rebuild)}`, 'being rebuilt') : [rebuild(row.name, false, again), ' ', row.previous ? rebuild(row.name, true, again) : null]), 'nowrap']], projections.items, empty('No projection is declared here.', 'tidewire projections list')));
}

const rebuild = (name, rollback, again) => action({
  label: rollback ? 'Roll back …' : 'Rebuild …', explanation: rollback ? 'The generation before becomes the live one again.' : 'Built anew beside the live one, compared, and swapped; readers never see a half. The old one is kept.',
  path: `/v1/projections/${encodeURIComponent(name)}/rebuild`, body: ({ reason }) => ({ reason, ...(rollback ? { rollback } : {}) }), dryRun: true, again,
});

const done = (job) => Object.values(job.counts ?? {}).reduce((most, n) => (typeof n === 'number' ? Math.max(most, n) : most), 0);

function progress(job) {
  const share = job.state === 'done' ? 1 : job.planned ? Math.min(1, done(job) / job.planned) : 0;
  return h('progress', { max: 1, value: share, title: `${number(done(job))} of ${number(job.planned)}` });
}

async function one(body, id, { every, signal, again }) {
  const at = `/v1/replays/${encodeURIComponent(id)}`;
  await every(async () => {
    const job = await get(at, signal);
    const isOver = ['stopped', 'failed', 'different', 'done'].includes(job.state);
    put(body, h('h1', {}, `Replay ${id}`), h('div', { class: 'actions' }, badge(job.state), job.phase && badge(job.phase), progress(job), !isOver && action({ label: 'Stop …', explanation: 'It ends after the batch it is at, and can be gone on with.', path: `${at}/stop`, danger: true, again })),
      h('div', { class: 'card' }, facts([['planned', number(job.planned)], ['at position', number(job.position)], ['took', span(job.seconds)], ['left', job.seconds_left !== undefined ? span(job.seconds_left) : undefined], ['by', job.actor], ['why', job.reason], ['begun', time(job.begun)], ['changed', time(job.updated)]])),
      job.trouble && [h('h2', {}, 'Trouble'), jsonBlock(job.trouble)], job.compared && [h('h2', {}, 'Compared'), jsonBlock(job.compared)], h('h2', {}, 'Counts'), jsonBlock(job.counts), h('h2', {}, 'What was planned'), jsonBlock(job.terms));
  });
}

async function plan(body, { parameters }) {
  const field = (name, label, hint) => h('label', {}, label, h('input', { name, value: parameters[name] ?? '', placeholder: hint, class: name === 'filter' ? 'wide' : undefined }));
  const kind = h('select', { name: 'kind' }, KINDS.map(([value, label]) => h('option', { value }, label)));
  kind.value = parameters.kind ?? 'consumer';
  const shown = h('div');
  const form = h('form', { class: 'filter', onsubmit: async (submitted) => {
    submitted.preventDefault();
    const entered = Object.fromEntries(new FormData(form));
    history.replaceState(null, '', href('replay/plan', entered));
    try { put(shown, planned(await send('POST', '/v1/replays/plans', request(entered)))); } catch (error) { put(shown, h('p', { class: 'bad' }, error.message, ' ', h('code', {}, error.code))); }
  } }, field('from', 'from', '1h, a time, a position'), field('to', 'to', 'now'), field('types', 'types', 'user.followed …'), field('key', 'key', 'user/ana'), field('correlation', 'flow', 'correlation id'), field('filter', 'CloudEvents SQL', 'sequence > 5'),
  h('label', {}, 'to', kind), field('name', 'its name', 'social.feed'), field('rate', 'at most, events/s', 'no limit'), h('button', { class: 'main' }, 'Plan'));
  put(body, h('h1', {}, 'Plan a replay'), h('p', { class: 'dim' }, 'Planning changes nothing. The upper end is fixed when it is planned.'), form, shown);
}

function request({ from, to, types, key, correlation, filter, kind, name, rate }) {
  const events = Object.fromEntries(Object.entries({ from, to, key, correlation, filter }).filter(([, value]) => value));
  const list = types.split(/[\s,]+/).filter(Boolean);
  return { events: { ...events, ...(list.length ? { types: list } : {}) }, target: { kind, ...(name ? { name } : {}) }, ...(rate ? { rate: Number(rate) } : {}) };
}

function planned(found) {
  const { report } = found;
  return [h('h2', {}, 'The plan'), h('div', { class: 'card' }, facts([['hash', h('code', {}, found.hash)], ['events', number(report.events)], ['bytes', number(report.bytes)], ['about', span(report.seconds)]])), jsonBlock(report),
    h('div', { class: 'actions' }, h('button', { class: 'main', onclick: async () => {
      const entered = await ask('Apply the plan', `${number(report.events)} events, effects muted. Only this plan is carried out.`, [REASON], { verb: 'Apply' });
      if (!entered) return;
      try { const job = await send('POST', '/v1/replays', { plan: found.hash, reason: entered.reason }); location.hash = href(`replay/${encodeURIComponent(job.id)}`); } catch (error) { notice(`${error.message} (${error.code})`, 'bad'); }
    } }, 'Apply …'))];
}
