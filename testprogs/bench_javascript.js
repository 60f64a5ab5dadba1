// Allocates objects that mostly die young, a unit of work each line of stdin, and says what CPU time each took (of all
// threads, as getrusage counts it). `sampling` and `plain` on stdin switch V8's own sampling profiler on and off.
'use strict';
const inspector = require('inspector');

const COUNT = Number(process.argv[2]);
const WORK = 100;
const ring = new Array(4096).fill(null);
const old = new Array(60000).fill(null);

class Item {
  constructor(i, list) {
    this.i = i;
    this.list = list;
    this.next = null;
  }
}

function item(i) {
  const made = new Item(i, [i, i + 1, i + 2, i + 3, i + 4, i + 5]);
  made.next = { i, tag: i & 7, back: null };
  ring[i & 4095] = made;
  return made;
}

// One in 64 gets old, as sessions and caches do, so that there are whole collections too.
function unit(count) {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const made = item(i);
    // So much work that it comes to about 1 GB/s.
    for (let k = 0; k < WORK; k++) sum = (Math.imul(sum, 31) + made.list[k % 6]) | 0;
    if ((i & 63) === 0) old[(i >> 6) % old.length] = made;
  }
  return sum;
}

function bytesEach() {
  for (let i = 0; i < 3; i++) unit(200000);
  let most = 0;
  // The most of several looks is one that no collection came into.
  for (let look = 0; look < 20; look++) {
    const before = process.memoryUsage().heapUsed;
    unit(5000);
    most = Math.max(most, process.memoryUsage().heapUsed - before);
  }
  return most / 5000;
}

let session = null;
function sample(on) {
  if (on) {
    session = new inspector.Session();
    session.connect();
    session.post('HeapProfiler.startSampling');
  } else if (session) {
    session.post('HeapProfiler.stopSampling');
    session.disconnect();
    session = null;
  }
}

async function main() {
  const bytes = bytesEach() * COUNT;
  process.stdout.write(`ready ${process.pid}\n`);
  for await (const line of require('readline').createInterface({ input: process.stdin })) {
    if (line === 'end') process.exit(0);
    if (line !== '') {
      sample(line === 'sampling');
      continue;
    }
    const begun = process.cpuUsage();
    const at = process.hrtime.bigint();
    const sum = unit(COUNT);
    const { user, system } = process.cpuUsage(begun);
    const wall = Number(process.hrtime.bigint() - at) / 1e9;
    process.stdout.write(`${JSON.stringify({ cpu: (user + system) / 1e6, wall, bytes, sum })}\ndone\n`);
  }
  process.exit(98);
}

main();
