// Sites whose objects all live and sites whose objects all die, by name. The sites that fill something of V8's own, a
// Map or a growing array, also leave what they outgrew.
'use strict';
const { PerformanceObserver } = require('perf_hooks');
const { steps, padded, pause } = require('./v8_protocol');

const ROUNDS = 1200;
const EACH = 100;
const slots = () => new Array(ROUNDS * EACH).fill(null);
const kept = { object: slots(), array: slots(), text: slots(), large: slots(), one: slots() };
const grows = { map: new Map(), list: [] };
const ring = new Array(256).fill(null);
const bytes = Buffer.alloc(400, 'leak');
class Kept { constructor(i) { this.i = i; this.list = [i, i, i, i, i, i]; } }

const sites = padded({ kept, grows, ring, bytes, Kept }, `
  return {
    garbageObject(i) { PAD ring[i & 255] = { a: i, b: i + 1, c: [i, i, i, i], s: null }; },
    garbageArray(i) { PAD ring[i & 255] = new Array(53).fill(i); },
    garbageText(i) { PAD ring[i & 255] = ('x' + i).repeat(20) + i; },
    garbageLarge(i) { PAD ring[i & 255] = new Array(40000).fill(i); },
    leakObject(i, n) { PAD kept.object[n] = { i, n, tag: 'leak', list: [i, i, i], next: { i } }; },
    leakArray(i, n) { PAD kept.array[n] = new Array(37).fill(i); },
    leakText(i, n) { PAD kept.text[n] = bytes.latin1Slice(0, 300 + (i & 63)); },
    leakLarge(i, n) { PAD kept.large[n] = new Array(30000).fill(i); },
    leakClass(i, n) { PAD kept.one[n] = new Kept(i); },
    growMap(i) { PAD grows.map.set('key' + i, { v: i }); },
    growList(i) { PAD grows.list.push({ i }); },
  };`, 'padded.js');

function round(at) {
  for (let i = 0; i < 2000; i++) {
    sites.garbageObject(i);
    if (i % 3 === 0) sites.garbageArray(i);
    if (i % 7 === 0) sites.garbageText(i);
  }
  for (let i = 0; i < EACH; i++) {
    const n = at * EACH + i;
    sites.leakObject(i, n);
    sites.leakArray(i, n);
    sites.leakText(i, n);
    sites.leakClass(i, n);
    sites.growMap(n);
    sites.growList(n);
  }
  if (at % 10 === 0) {
    sites.garbageLarge(at);
    sites.leakLarge(at, at / 10);
  }
}

const entries = [];
const note = (entry) => entries.push({ collection: (entry.detail || entry).kind, start: entry.startTime, ms: entry.duration });
const observer = new PerformanceObserver((list) => list.getEntries().forEach(note));

async function work() {
  observer.observe({ entryTypes: ['gc'] });
  gc();
  for (let at = 0; at < ROUNDS; at++) {
    round(at);
    if (at % 20 === 0) await pause();
  }
  ring.fill(null);
  await pause();
  // The first ends what was under way, perhaps with marks from before; the second is sure.
  gc();
  gc();
  const { heapUsed } = process.memoryUsage();
  await new Promise((resolve) => setTimeout(resolve, 50));
  observer.takeRecords().forEach(note);
  observer.disconnect();
  return [{ heap_used: heapUsed }, ...entries];
}

for (let at = 0; at < 20; at++) round(at);
steps(work);
