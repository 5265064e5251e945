// Changing something: always with a preview where there is one, a reason, and a second look.

import { copyButton, h, jsonBlock, notice, put } from './dom.js';
import { send } from './api.js';

/// A dialog with `fields` ({name, label, value, kind, hint, required}); resolves with what was entered, or null.
/// `preview`, called with the same, shows what would happen before anything does.
export function ask(title, explanation, fields, { preview, verb = 'Do it', danger = false } = {}) {
  return new Promise((resolve) => {
    const inputs = fields.map((field) => {
      const input = field.kind === 'text' ? h('textarea', { name: field.name, spellcheck: 'false' }) : h('input', { name: field.name, placeholder: field.hint, required: field.required, type: field.kind === 'number' ? 'number' : 'text', autocomplete: 'off' });
      input.value = field.value ?? '';
      return h('label', {}, field.label, input);
    });
    const shown = h('div');
    const entered = () => Object.fromEntries(new FormData(form));
    const look = preview && h('button', { type: 'button', onclick: async () => {
      if (!form.reportValidity()) return;
      try { put(shown, jsonBlock(await preview(entered()))); } catch (error) { put(shown, h('p', { class: 'bad' }, error.message)); }
    } }, 'Preview');
    const form = h('form', { method: 'dialog' }, h('h2', {}, title), h('p', { class: 'dim' }, explanation), inputs, shown,
      h('div', { class: 'actions' }, h('button', { value: '', formnovalidate: true }, 'Cancel'), look, h('button', { value: 'do', class: danger ? 'danger' : 'main' }, verb)));
    const dialog = h('dialog', { 'aria-label': title }, form);
    dialog.addEventListener('close', () => { const done = dialog.returnValue === 'do' ? entered() : null; dialog.remove(); resolve(done); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/// Shows one text that is to be kept, until it is closed.
export function show(title, explanation, text) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-label': title }, h('form', { method: 'dialog' }, h('h2', {}, title), h('p', { class: 'dim' }, explanation), h('pre', {}, text), h('div', { class: 'actions' }, copyButton('Copy', () => text), h('button', { class: 'main' }, 'I have it'))));
    dialog.addEventListener('close', () => { dialog.remove(); resolve(); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export const REASON = { name: 'reason', label: 'Reason (kept in the audit log)', required: true, hint: 'what was fixed, or why this is right' };

/// A button that asks, sends, tells, and shows the page again.
export function action({ label, title, explanation, fields = [], danger, method = 'POST', path, body = (entered) => entered, dryRun, again }) {
  return h('button', { class: danger ? 'danger' : undefined, onclick: async () => {
    const whole = [...fields, REASON];
    const preview = dryRun && ((entered) => send(method, path, { ...body(entered), dry_run: true }));
    const entered = await ask(title ?? label, explanation, whole, { preview, verb: label.replace(' …', ''), danger });
    if (!entered) return;
    try { await send(method, path, body(entered)); notice(`${label}: done`, 'good'); again(); } catch (error) { notice(`${label}: ${error.message} (${error.code})`, 'bad'); }
  } }, label);
}
