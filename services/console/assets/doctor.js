// What is wrong, or soon will be: each finding with its evidence and its cure.

import { badge, empty, h, put, table } from './dom.js';
import { get } from './api.js';

export async function show(body, { signal }) {
  put(body, h('h1', {}, 'Doctor'), h('p', { class: 'dim' }, 'Looking …'));
  const found = await get('/v1/doctor', signal);
  put(body, h('h1', {}, 'Doctor'), h('p', { class: 'dim' }, 'Each rule stands for a failure that people have met.'),
    table([['', (row) => badge(row.severity)], ['rule', (row) => h('code', {}, row.rule), 'nowrap'], ['about', (row) => row.subject, 'nowrap'], ['what was found', (row) => row.evidence], ['what to do', (row) => row.cure]], found.items, empty('Nothing is wrong.', 'tidewire doctor')));
}
