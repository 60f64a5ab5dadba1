// Allocates at one line each of functions of every kind, and says what Error.stack says there. A site that is called
// with `probe` throws no error away: the stack is taken on the line that allocates.
import { createRequire } from 'module';

const require = createRequire(import.meta.url);
const { steps, padded, pause } = require('./v8_protocol');
const commonjs = require('./v8_frames.cjs');

const ring = new Array(64).fill(null);
const stacks = [];
let probe = false;
const probing = () => probe && stacks.push({ stack: new Error('probe').stack });

function esm(i) {
  return (ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i]);
}

class Made {
  constructor(i) {
    ring[i & 63] = { i, p: probing(), list: [i, i, i, i, i] };
  }

  method(i) {
    return (ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i]);
  }

  static fixed(i) {
    return (ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i]);
  }

  get got() {
    return (ring[5] = [probing(), 1, 1, 1, 1, 1, 1, 1, 1]);
  }
}

async function asynchronous(i) {
  ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i];
}

async function awaited(i) {
  await null;
  ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i];
}

function* generator(i) {
  yield (ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i]);
}

function inner(i) {
  return (ring[i & 63] = [i, probing(), i, i]);
}

function middle(i) {
  return inner(i + 1);
}

function outer(i) {
  return middle(i + 1);
}

const { long } = padded({ ring, probing }, `
  return { long(i) { PAD
    return (ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i]);
  } };`, 'long.js');

const evaluated = eval(`(function evaluated(i) {
  return (ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i]);
})`);

const made = new Made(0);
const anonymous = [(i) => (ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i])];

// Two on neighbouring lines: V8 takes the memory of both at once in optimised code.
function folded(i) {
  const first = { i, a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7 };
  const second = { i, first, a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 };
  ring[i & 63] = second;
}

// So that samples fall on each site in turn: V8 takes memory in pages, and a program in step with them shows few.
function filler(i) {
  ring[i & 63] = new Array((i * 7919) % 211).fill(i);
}

function everything(i) {
  filler(i + ring.length * (everything.calls = (everything.calls | 0) + 1));
  esm(i);
  new Made(i);
  made.method(i);
  Made.fixed(i);
  made.got;
  asynchronous(i);
  generator(i).next();
  outer(i);
  long(i);
  evaluated(i);
  anonymous[0](i);
  commonjs.site(ring, i, probing);
  [i, i].forEach(commonjs.callback(ring, probing));
  folded(i);
}

await steps(async function step() {
  globalThis.gc();
  for (let round = 0; round < 900; round++) {
    for (let i = 0; i < 300; i++) everything(i);
    for (let i = 0; i < 20; i++) await awaited(i);
    await pause();
  }
  // At the end, so that what it compiles to is what it was.
  probe = true;
  everything(1);
  await awaited(1);
  return stacks;
});
