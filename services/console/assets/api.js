// The public API, as any client uses it. The key lives in this tab only.

import { h } from './dom.js';

export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `answer ${status}`);
    this.status = status;
    this.code = problem.code ?? 'http.unknown';
    this.problem = problem;
  }
}

const KEY = 'tidewire.key';
export const hasKey = () => Boolean(sessionStorage.getItem(KEY));
export const forgetKey = () => sessionStorage.removeItem(KEY);

const headers = (more) => {
  const key = sessionStorage.getItem(KEY);
  return { ...(key ? { authorization: `Bearer ${key}` } : {}), ...more };
};

async function answer(response) {
  const text = await response.text();
  let body;
  try { body = text ? JSON.parse(text) : null; } catch { body = { detail: text.slice(0, 300) }; }
  if (!response.ok) throw new Refusal(response.status, body ?? {});
  return body;
}

async function ask(path, options) {
  let response;
  try { response = await fetch(path, { ...options, headers: headers(options.headers) }); } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal(0, { code: 'console.unreachable', detail: 'the gateway does not answer; is it running?' });
  }
  if (response.status === 401 && await askForKey()) return ask(path, options);
  return answer(response);
}

export const get = (path, signal) => ask(path, { signal });
/// Sent once however often the network makes us repeat it.
export const send = (method, path, body, more = {}) => ask(path, { method, headers: { 'idempotency-key': crypto.randomUUID(), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...more }, body: body === undefined ? undefined : JSON.stringify(body) });

export const query = (path, parameters) => {
  const known = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return known.length ? `${path}?${new URLSearchParams(known)}` : path;
};

/// Server-sent events over fetch, because an EventSource cannot carry a key.
export async function* stream(path, signal) {
  const response = await fetch(path, { headers: headers({ accept: 'text/event-stream' }), signal });
  if (!response.ok) await answer(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const found = { event: 'message', data: [], id: undefined };
      for (const line of block.split(/\r?\n/)) {
        const colon = line.indexOf(':');
        if (colon <= 0) continue;
        const [name, text] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
        if (name === 'data') found.data.push(text); else found[name] = text;
      }
      if (found.data.length) yield { ...found, data: found.data.join('\n') };
    }
  }
}

let asking;
function askForKey() {
  asking ??= new Promise((resolve) => {
    const input = h('input', { type: 'password', autocomplete: 'off', required: true, name: 'key' });
    const dialog = h('dialog', { 'aria-label': 'API key' }, h('form', { method: 'dialog' },
      h('h2', {}, 'This gateway wants to know who asks'),
      h('label', {}, 'API key or token', input),
      h('p', { class: 'dim' }, 'It stays in this tab and is gone when the tab is closed. A key with the scopes observe and events may look; operate may change things: ', h('code', {}, "tidewire keys create --name me --scopes 'observe events operate'")),
      h('div', { class: 'actions' }, h('button', { value: '', formnovalidate: true }, 'Not now'), h('button', { value: 'use', class: 'main' }, 'Use it'))));
    dialog.addEventListener('close', () => {
      const use = dialog.returnValue === 'use' && input.value.trim();
      if (use) sessionStorage.setItem(KEY, input.value.trim());
      dialog.remove();
      asking = undefined;
      resolve(Boolean(use));
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}
