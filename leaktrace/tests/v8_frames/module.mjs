// A module, with a source of two bytes a character: → ₂
import fs from 'node:fs';
Error.stackTraceLimit = 200;

function capture() {
  const before = Error.prepareStackTrace;
  Error.prepareStackTrace = (_, sites) => sites;
  const sites = new Error().stack;
  Error.prepareStackTrace = before;
  const frames = sites.filter((site) => !site.isAsync()).map((site) => ({
    function: site.getFunctionName(), file: site.getFileName() ?? null, eval: site.getEvalOrigin() ?? null,
    line: site.getLineNumber(), column: site.getColumnNumber(),
  }));
  fs.writeSync(1, JSON.stringify(frames) + '\n');
  return 1;
}

const wait = () => fs.readSync(0, Buffer.alloc(1));
const names = { 'größe →': (step) => step() };
export default class {
  static each() { for (const step of [capture, wait]) names['größe →'](step); }
}
export class Named { #secret() { exported(); } run() { this.#secret(); } }
import own from './module.mjs';
export function exported() { own.each(); }
queueMicrotask(() => { new Named().run(); });
