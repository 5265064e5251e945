// Has the parser of the AsyncAPI project read a document, and says what it makes of it: one line of JSON.
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

new Parser().parse(readFileSync(process.argv[2], "utf8")).then(({ document, diagnostics }) => {
  const found = diagnostics.map(({ severity, message, path }) => ({ severity, message, path: path.join("/") }));
  const counts = document && {
    version: document.version(),
    channels: document.channels().all().length,
    operations: document.operations().all().length,
    messages: document.components().messages().all().length,
  };
  console.log(JSON.stringify({ counts: counts ?? null, found }));
});
