// The contracts: every type, its versions, its schema.

import { empty, h, jsonBlock, link, put, table } from './dom.js';
import { get } from './api.js';

export async function show(body, { parameters, signal }) {
  const found = await get('/schemas', signal);
  const [, name, version] = (parameters.type ?? '').match(/^(.*)\.v(\d+)$/) ?? [];
  const schema = name && await get(`/schemas/${encodeURIComponent(name)}/v${version}.json`, signal);
  put(body, h('h1', {}, schema ? parameters.type : 'Schemas'),
    schema && [h('div', { class: 'actions' }, link('events', 'its events', { type: name }), link('schemas', 'all types')), jsonBlock(schema)],
    schema ? null : table([['type', (row) => link('schemas', row.type, { type: row.type }), 'nowrap'], ['what it says', (row) => row.description], ['', (row) => link('events', 'events', { type: row.type.replace(/\.v\d+$/, '') })]], found.items, empty('No types are known.', 'tidewire schemas list')));
}
