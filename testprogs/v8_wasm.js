// Functions of WebAssembly that call one of JavaScript, which leaks: of a module without names, of one with, and of a long one.
'use strict';
const { steps } = require('./v8_protocol');

const ROUNDS = 20000;

const uleb = (number) => (number < 128 ? [number] : [(number & 127) | 128, ...uleb(number >>> 7)]);
const sized = (id, bytes) => [id, ...uleb(bytes.length), ...bytes];
const text = (string) => [...uleb(string.length), ...Buffer.from(string)];
const list = (...items) => [...uleb(items.length), ...items.flat()];
const body = (...code) => sized(0, code).slice(1);

// (module (import "env" "leak" (func $leak))
//   (func $inner (param i32)
//     (loop (call $leak) (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0))))
//   (func $outer (export "run") (param i32) (call $inner (local.get 0))))
const bytes = (...more) => new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0,
  ...sized(1, list([0x60, 0, 0], [0x60, 1, 0x7f, 0])),
  ...sized(2, list([...text('env'), ...text('leak'), 0, 0])),
  ...sized(3, list([1], [1])),
  ...sized(7, list([...text('run'), 0, 2])),
  ...sized(10, list(
    body(0, 0x03, 0x40, 0x10, 0, 0x20, 0, 0x41, 1, 0x6b, 0x21, 0, 0x20, 0, 0x0d, 0, 0x0b, 0x0b),
    body(0, 0x20, 0, 0x10, 1, 0x0b),
  )),
  ...more.flat(),
]);

const names = (module, ...functions) => sized(0, [
  ...text('name'),
  ...sized(0, text(module)),
  ...sized(1, list(...functions.map((name, index) => [...uleb(index), ...text(name)]))),
]);
const padding = sized(0, [...text('padding'), ...new Array(20000).fill(7)]);

const kept = [];

// What V8 itself says of the frames between the two of JavaScript: `name (URL:wasm-function[1]:0x34)`, or without a name.
const ofWasm = (stack) => [...stack.matchAll(/at (?:(\S+) \()?(wasm:.*?):wasm-function\[(\d+)\]/g)].map(
  ([, name, file, index]) => ({ function: name || `wasm-function[${index}]`, file }),
);

const truths = [];

// With the first of a module's calls; seldom, so that V8 does not inline it.
function note(leak, module) {
  truths.push({ leak: leak.name, module, frames: ofWasm(new Error().stack) });
}

function leakOfUnnamed() {
  if (kept.push(new Array(300).fill(kept.length)) % ROUNDS === 1) note(leakOfUnnamed, '');
}

function leakOfNamed() {
  if (kept.push(new Array(300).fill(kept.length)) % ROUNDS === 1) note(leakOfNamed, 'shop');
}

function leakOfLong() {
  if (kept.push(new Array(300).fill(kept.length)) % ROUNDS === 1) note(leakOfLong, '');
}

function through(leak, bytes) {
  new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { leak } }).exports.run(ROUNDS);
}

steps(async () => {
  through(leakOfUnnamed, bytes());
  through(leakOfNamed, bytes(names('shop', 'leak', 'addToCart', 'checkout')));
  through(leakOfLong, bytes(names('', 'leak', 'inner', 'outer'), padding));
  return truths;
});
