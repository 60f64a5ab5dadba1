// A function of WebAssembly that calls one of JavaScript, which leaks.
'use strict';
const { steps } = require('./v8_protocol');

const kept = [];

function leakFromWasm() {
  kept.push(new Array(300).fill(kept.length));
}

// (module (import "env" "leak" (func $leak)) (func (export "run") (param i32)
//   (loop (call $leak) (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))))
const code = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0,
  1, 8, 2, 96, 0, 0, 96, 1, 127, 0,
  2, 12, 1, 3, 101, 110, 118, 4, 108, 101, 97, 107, 0, 0,
  3, 2, 1, 1,
  7, 7, 1, 3, 114, 117, 110, 0, 1,
  10, 20, 1, 18, 0, 3, 64, 16, 0, 32, 0, 65, 1, 107, 33, 0, 32, 0, 13, 0, 11, 11,
]);
const { run } = new WebAssembly.Instance(new WebAssembly.Module(code), { env: { leak: leakFromWasm } }).exports;

function throughWasm() {
  run(20000);
}

steps(async () => {
  throughWasm();
  return [{ kept: kept.length }];
});
