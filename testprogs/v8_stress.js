// Everything that V8 does with stacks, code and memory, all the while, and a check of each result: a wrong one ends the
// process with code 1. Works from `ready` on; the second line on stdin ends the work.
'use strict';
const assert = require('assert');
const vm = require('vm');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

// (module (import "m" "f" (func $f (param i32) (result i32)))
//   (func (export "g") (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1))))
const WASM = new WebAssembly.Module(new Uint8Array([
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f, 2, 7, 1, 1, 0x6d, 1, 0x66, 0, 0, 3, 2, 1, 0,
  7, 5, 1, 1, 0x67, 0, 1, 0x0a, 0x0b, 1, 9, 0, 0x20, 0, 0x10, 0, 0x41, 1, 0x6a, 0x0b,
]));

const kept = [];
const ring = new Array(512).fill(null);
let sink = null;

function objects(round) {
  for (let i = 0; i < 3000; i++) {
    ring[i & 511] = { i, next: ring[(i - 1) & 511] === null ? null : { i }, list: [i, i + 0.5, `${i}`] };
  }
  for (let i = 2600; i < 3000; i++) assert.strictEqual(ring[i & 511].list[2], `${i}`);
  kept.push({ round, list: new Array(40).fill(round) });
  if (kept.length > 2000) kept.splice(0, 1000);
  for (const one of kept) assert.strictEqual(one.list[39], one.round);
}

function growing(round) {
  const list = [];
  for (let i = 0; i < 20000; i++) list.push(i & 1 ? i : { i });
  assert.strictEqual(list[19998].i, 19998);
  const map = new Map();
  for (let i = 0; i < 5000; i++) map.set(`key ${i}`, [i]);
  for (let i = 0; i < 5000; i += 2) map.delete(`key ${i}`);
  assert.strictEqual(map.size, 2500);
  assert.strictEqual(map.get('key 4999')[0], 4999);
  const weak = new WeakMap();
  weak.set(list, round);
  sink = new WeakRef(map);
  assert.strictEqual(weak.get(list), round);
}

function large(round) {
  const big = new Array(60000).fill(round);
  const doubles = new Float64Array(70000).fill(1.5);
  const text = 'abc'.repeat(100000) + round;
  assert.strictEqual(big[59999] + doubles[69999], round + 1.5);
  assert.strictEqual(text.indexOf(String(round), 300000), 300000);
  sink = [big, doubles, text];
}

function strings(round) {
  let text = '';
  for (let i = 0; i < 500; i++) text += `${i},`;
  const parts = text.split(',').filter(Boolean).map(Number);
  assert.strictEqual(parts.reduce((a, b) => a + b, 0), 124750);
  assert.strictEqual(text.replace(/(\d+),/g, (_, n) => (n % 2 ? '' : 'x')).length, 250);
  const again = JSON.parse(JSON.stringify({ round, parts }), (key, value) => value);
  assert.strictEqual(again.parts.length, 500);
  assert.strictEqual(BigInt(round) ** 20n / BigInt(round) ** 19n, BigInt(round));
}

function closures(round) {
  const made = [];
  for (let i = 0; i < 2000; i++) made.push(() => i + round);
  made.sort(() => 0).sort((a, b) => b() - a());
  assert.strictEqual(made[0](), 1999 + round);
  const proxy = new Proxy({}, { get: (_, name) => [String(name), round] });
  for (let i = 0; i < 200; i++) assert.strictEqual(proxy[`p${i}`][1], round);
}

function buffers(round) {
  const all = [];
  for (let i = 0; i < 50; i++) all.push(Buffer.alloc(1 + ((i * 977) % 40000), i), Buffer.from(`text ${i} ${round}`));
  assert.strictEqual(all[98][0], 49);
  assert.strictEqual(all[99].toString(), `text 49 ${round}`);
  // A worker that is ended while it makes such a handle takes node 20 with it ("close before init"), no leaktrace near.
  if (!isMainThread) return;
  const packed = zlib.deflateSync(Buffer.concat(all));
  assert.strictEqual(zlib.inflateSync(packed).length, all.reduce((sum, one) => sum + one.length, 0));
}

// Compiled for small integers, then told otherwise; new each time, since V8 gives up on one that does so too often.
function deoptimisations(round) {
  const add = new Function('a', 'b', `const o = { a, b, r: ${round} }; return o.a + o.b;`);
  const point = new Function('p', 'return { s: p.x + p.y, p };');
  for (let i = 0; i < 3000; i++) assert.ok(add(i, 1) === i + 1 && point({ x: i, y: 1 }).s === i + 1);
  assert.strictEqual(add(0.5, 1), 1.5);
  assert.strictEqual(add('a', 1), 'a1');
  assert.strictEqual(add(2 ** 31, 2 ** 31), 2 ** 32);
  assert.strictEqual(add({ valueOf: () => { growing(round); return 3; } }, 1), 4);
  assert.strictEqual(point({ y: 1, z: 0, x: 'x' }).s, 'x1');
  assert.strictEqual(point({ get x() { large(round); return 4; }, y: 1 }).s, 5);
}

function thrower(depth, round) {
  const before = { depth, list: [depth] };
  try {
    if (depth === 0) throw new Error(`thrown ${round}`);
    thrower(depth - 1, round);
  } catch (error) {
    if (depth % 10 !== 5) throw error;
    throw Object.assign(new Error(error.message, { cause: error }), { passed: (error.passed || 0) + 1 });
  } finally {
    assert.strictEqual(before.list[0], depth);
    sink = before;
  }
}

function exceptions(round) {
  try {
    [1].forEach(() => thrower(100, round));
    assert.fail('nothing was thrown');
  } catch (error) {
    assert.strictEqual(error.message, `thrown ${round}`);
    assert.strictEqual(error.passed, 10);
    assert.ok(error.stack.includes('thrower'));
  }
  const deeper = (n) => { const o = { n }; return deeper(n + 1) + o.n; };
  if (round % 20 === 0) assert.throws(() => deeper(0), RangeError);
}

function evaluated(round) {
  const local = round * 2;
  assert.strictEqual(eval('({ v: [local, local + 1] })').v[1], local + 1);
  assert.strictEqual(new Function('n', 'return Array.from({ length: n }, (_, i) => ({ i })).length')(300), 300);
  if (round % 10 === 0) {
    assert.strictEqual(vm.runInNewContext('let m = new Map(); for (let i = 0; i < 999; i++) m.set(i, {}); m.size'), 999);
  }
}

function wasm(round) {
  const calls = [];
  const { g } = new WebAssembly.Instance(WASM, { m: { f: (n) => { calls.push({ n }); return n * 2; } } }).exports;
  for (let i = 0; i < 2000; i++) assert.strictEqual(g(i), i * 2 + 1);
  assert.strictEqual(calls.length, 2000);
  const { g: throws } = new WebAssembly.Instance(WASM, { m: { f: (n) => { large(n); throw new TypeError('x'); } } }).exports;
  assert.throws(() => throws(round), TypeError);
}

function* generated(n) {
  for (let i = 0; i < n; i++) yield { i };
}

async function asyncs(round) {
  const deep = async (n) => { const o = [n]; await null; return n === 0 ? o.length : (await deep(n - 1)) + o.length; };
  const later = (n) => new Promise((resolve) => setTimeout(() => resolve({ n }), n % 3));
  const fails = async () => { await null; thrower(20, round); };
  const [depth, all] = await Promise.all([deep(50), Promise.all([...generated(30)].map(({ i }) => later(i)))]);
  assert.strictEqual(depth, 51);
  assert.strictEqual(all.reduce((sum, { n }) => sum + n, 0), 435);
  await assert.rejects(fails, { message: `thrown ${round}` });
  async function* endless() { for (let i = 0; ; i++) yield i; }
  let sum = 0;
  for await (const i of endless()) { if (i > 50) break; sum += i; }
  assert.strictEqual(sum, 1275);
}

const TASKS = [
  objects, growing, large, strings, closures, buffers, deoptimisations, exceptions, evaluated, wasm, asyncs,
];

async function work(round) {
  for (const task of TASKS) await task(round);
}

// One that ends by itself, one by process.exit, one from outside at some moment.
async function worker(round) {
  const thread = new Worker(__filename, { workerData: { rounds: 1 + (round % 4), exits: round % 3 === 1 } });
  const ended = new Promise((resolve, reject) => thread.once('error', reject).once('exit', resolve));
  if (round % 3 === 2) {
    await new Promise((resolve) => setTimeout(resolve, 30 + ((round * 37) % 400)));
    await thread.terminate();
    assert.ok([0, 1].includes(await ended));
  } else {
    assert.strictEqual(await ended, round % 3 === 1 ? 7 : 0);
  }
}

async function main() {
  let lines = 0;
  let stop = false;
  process.stdin.on('data', (data) => {
    lines += data.filter((byte) => byte === 10).length;
    stop = lines >= 2;
    if (lines >= 3) process.exit(0);
  });
  process.stdin.on('end', () => process.exit(98));
  process.stdout.write(`ready ${process.pid}\n`);
  let rounds = 0;
  let workers = 0;
  const threads = async () => { while (!stop) await worker(++workers); };
  const rest = async () => { while (!stop) await work(++rounds); };
  await Promise.all([threads(), threads(), rest()]);
  process.stdout.write(`{"rounds":${rounds},"workers":${workers}}\ndone\n`);
}

async function thread() {
  for (let round = 1; round <= workerData.rounds; round++) await work(round);
  if (workerData.exits) process.exit(7);
}

(isMainThread ? main() : thread()).catch((error) => {
  console.error(error);
  process.exit(1);
});
