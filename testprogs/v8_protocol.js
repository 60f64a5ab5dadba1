// What the harness and the programs of V8 say to each other: a line on stdin begins each step, `done` ends it.
'use strict';

exports.steps = async (...steps) => {
  const lines = require('readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const next = async () => {
    if ((await lines.next()).done) process.exit(98);
  };
  process.stdout.write(`ready ${process.pid}\n`);
  for (const step of steps) {
    await next();
    for (const truth of (await step()) || []) process.stdout.write(`${JSON.stringify(truth)}\n`);
    process.stdout.write('done\n');
  }
  await next();
  process.exit(0);
};

// A function that V8 does not inline, since its bytecode is too long for that.
exports.padded = (scope, text, file) => {
  let padding = '';
  for (let k = 0; k < 120; k++) padding += `pad.p${k} = (pad.p${k} | 0) + i * ${k};`;
  const names = Object.keys(scope);
  const source = text.replace(/PAD/g, `if (i < 0) { const pad = {}; ${padding} }`);
  const made = require('vm').runInThisContext(`(function (${names.join()}) {${source}})`, { filename: file });
  return made(...names.map((name) => scope[name]));
};

exports.pause = () => new Promise((resolve) => setImmediate(resolve));
