// Opens the console as it is served and walks through its pages: node pages.cjs BASE < [{page, shows: [...]}, ...]
// Ends with 0 when each page showed each text in time and nothing threw; prints one JSON line per page.

const { Window } = require('happy-dom');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

const DEADLINE = 20000;
const base = process.argv[2];
const fetchReal = globalThis.fetch;
const failures = [];
process.on('unhandledRejection', (error) => failures.push(`unhandled: ${error?.stack ?? error}`));
process.on('uncaughtException', (error) => failures.push(`uncaught: ${error?.stack ?? error}`));

async function main() {
  const walk = JSON.parse(fs.readFileSync(0, 'utf8'));
  const page = await (await fetchReal(`${base}/console`)).text();
  const window = new Window({ url: `${base}/console` });
  window.document.write(page.replace(/<script.*?<\/script>/s, ''));
  const share = ['document', 'location', 'localStorage', 'sessionStorage', 'Node', 'HashChangeEvent', 'FormData', 'navigator'];
  for (const name of share) Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true });
  globalThis.addEventListener = window.addEventListener.bind(window);
  globalThis.dispatchEvent = window.dispatchEvent.bind(window);
  // A browser resolves these against the page.
  globalThis.fetch = (target, options) => fetchReal(new URL(target, base), options);
  console.error = (...told) => failures.push(`console.error: ${told.join(' ')}`);

  const folder = await modules(page);
  await import(pathToFileURL(path.join(folder, 'app.js')).href);
  for (const step of walk) {
    window.location.hash = `#/${step.page}`;
    window.dispatchEvent(new window.HashChangeEvent('hashchange'));
    const missing = await until(() => step.shows.filter((text) => !window.document.body.textContent.includes(text)));
    if (missing.length) failures.push(`${step.page}: does not show ${JSON.stringify(missing)}; it shows ${window.document.getElementById('main').textContent.slice(0, 600)}`);
    const foreign = window.document.querySelectorAll('main img, main script, main iframe, main object, main [onerror], main [onload]');
    if (foreign.length) failures.push(`${step.page}: text became markup: ${foreign[0].outerHTML}`);
    process.stdout.write(`${JSON.stringify({ page: step.page, shown: step.shows.length - missing.length })}\n`);
  }
  fs.rmSync(folder, { recursive: true });
}

/// The scripts as served, where an import finds them.
async function modules(page) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'console-'));
  fs.writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}');
  const wanted = [...page.matchAll(/src="\/console\/([\w.-]+)"/g)].map(([, name]) => name);
  const seen = new Set();
  while (wanted.length) {
    const name = wanted.pop();
    if (seen.has(name)) continue;
    seen.add(name);
    const answer = await fetchReal(`${base}/console/${name}`);
    if (!answer.ok) throw new Error(`/console/${name} answers ${answer.status}`);
    const text = await answer.text();
    fs.writeFileSync(path.join(folder, name), text);
    wanted.push(...[...text.matchAll(/from '\.\/([\w.-]+)'/g)].map(([, inner]) => inner));
  }
  return folder;
}

/// Asks until nothing is left, or the deadline has passed; answers what is left.
async function until(left) {
  const end = Date.now() + DEADLINE;
  let found = left();
  while (found.length && Date.now() < end) {
    await new Promise((done) => setTimeout(done, 20));
    found = left();
  }
  return found;
}

main().catch((error) => failures.push(String(error.stack ?? error))).finally(() => {
  for (const failure of failures) process.stderr.write(`${failure}\n`);
  process.exit(failures.length ? 1 : 0);
});
