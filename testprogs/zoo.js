// The classes of the simulated zoo (zoo/src/class.rs) as a real program of node: `zoo.js CLASS SECONDS`. An hour of the
// simulation passes in SECONDS, and every time below is in seconds of that hour, so that numbers compare with the
// simulation's. With --expose-gc there is a major collection each minute of it. Works until a line comes on stdin.
'use strict';

const HOUR = 3600;
const FOREVER = Infinity;
const [name, seconds] = process.argv.slice(2);
let started = 0;

const now = () => ((performance.now() - started) / 1000) * (HOUR / Number(seconds));
const between = (from, to) => from + (to - from) * Math.random();
const exponential = (mean) => -mean * Math.log(1 - Math.random());

// What is alive, by when it dies; what lives forever is not looked at again.
let mortal = [];
const immortal = [];

function livesUntil(dies, value) {
  if (dies === FOREVER) immortal.push(value);
  else mortal.push({ dies, value });
}

function bury(at) {
  mortal = mortal.filter((one) => one.dies > at);
}

// How often an event at this mean distance happened since it was last asked for.
function events(mean) {
  let next = exponential(mean);
  return (at) => {
    let number = 0;
    for (; next <= at; next += exponential(mean)) number += 1;
    return number;
  };
}

function each(mean, act) {
  const happened = events(mean);
  return (at) => {
    for (let left = happened(at); left > 0; left -= 1) act(at);
  };
}

// About 8 kB: leaktrace sees one allocation in about 256 kB, those that begin a new page of V8's.
class Entry {
  constructor() {
    this.values = new Array(1000).fill(0);
  }
}

// What every program does beside.
function serveRequest(at) {
  livesUntil(at + exponential(3), new Entry());
}

function keepRequest() {
  livesUntil(FOREVER, new Entry());
}

// One call in ten is never forgotten, by the same stack as the others.
function parseHeader(at) {
  livesUntil(Math.random() < 0.1 ? FOREVER : at + exponential(10), new Entry());
}

function keepEntry() {
  livesUntil(FOREVER, new Entry());
}

// Each a function of its own, on a line of its own.
const ways = Array.from({ length: 40 }, (_, n) =>
  new Function('keepEntry', `${'\n'.repeat(n)}return function way${n}() { keepEntry(); };`)(keepEntry)
);

function dispatch() {
  ways[Math.floor(Math.random() * ways.length)]();
}

function cachePage(at) {
  livesUntil(at + 800 * between(0.7, 1.5), new Entry());
}

function fillCache() {
  livesUntil(FOREVER, new Entry());
}

// Thrown away the first time too early for a suspicion.
function appendToBatch(at) {
  livesUntil((Math.floor((at + 700) / 900) + 1) * 900 - 700, new Entry());
}

function learnName() {
  livesUntil(FOREVER, new Entry());
}

function buildTable() {
  livesUntil(FOREVER, new Entry());
}

function openSession(at) {
  livesUntil(at + exponential(300), new Entry());
}

// Off V8's heap: malloc holds the bytes, this stack made them.
function keepUpload() {
  livesUntil(FOREVER, Buffer.alloc(20000, 7));
}

const classes = {
  steady: each(HOUR / 6000, keepRequest),
  noise: each(HOUR / 40000, parseHeader),
  'many-stacks': each(HOUR / 6000, dispatch),
  lru: each(HOUR / 8000, cachePage),
  'fills-and-stops': ((fill) => (at) => fill(Math.min(at, 1200)))(each(HOUR / 15000, fillCache)),
  sawtooth: each(HOUR / 8000, appendToBatch),
  // Each of a number of names is met first at a time of its own, ever fewer remain.
  'warm-up': (() => {
    const meetings = Array.from({ length: 5000 }, () => exponential(200)).sort((a, b) => b - a);
    return (at) => {
      for (; meetings.length > 0 && meetings.at(-1) <= at; meetings.pop()) learnName();
    };
  })(),
  // Tables of the start, and those of a part that is used later.
  step: (() => {
    let built = 0;
    return (at) => {
      for (const wanted = at < 1500 ? 2500 : 5000; built < wanted; built += 1) buildTable();
    };
  })(),
  sessions: each(HOUR / 8000, openSession),
  buffers: each(HOUR / 2000, keepUpload),
  // Both heaps at once.
  both: ((requests, uploads) => (at) => {
    requests(at);
    uploads(at);
  })(each(HOUR / 6000, keepRequest), each(HOUR / 2000, keepUpload)),
};

const work = classes[name];
if (!work || !(Number(seconds) > 0)) throw new Error(`no class ${name} or no time ${seconds}`);
const requests = each(HOUR / 5000, serveRequest);

function tick() {
  const at = now();
  work(at);
  requests(at);
  bury(at);
}

let lines = 0;
process.stdin.on('data', (data) => {
  for (const byte of data) {
    if (byte !== 10) continue;
    lines += 1;
    if (lines === 1) {
      started = performance.now();
      setInterval(tick, 5);
      if (globalThis.gc) setInterval(gc, (60 / HOUR) * Number(seconds) * 1000);
    }
    if (lines === 2) process.stdout.write(`{"kept":${immortal.length}}\ndone\n`);
    if (lines === 3) process.exit(0);
  }
});
process.stdin.on('end', () => process.exit(98));
process.stdout.write(`ready ${process.pid}\n`);
