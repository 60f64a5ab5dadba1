// Leaks of known shares, seen by V8's own sampling profiler at the same time, then counted by a heap snapshot.
'use strict';
const inspector = require('inspector');
const { steps, padded, pause } = require('./v8_protocol');

const SESSIONS = 30e3;
class Session { constructor(id, name, cart) { this.id = id; this.name = name; this.cart = cart; } }
const kept = { sessions: new Array(SESSIONS), numbers: [], rows: [], texts: new Array(SESSIONS), closures: new Array(SESSIONS) };
const bytes = Buffer.alloc(400, 'text');
const ring = new Array(64).fill(null);

const sites = padded({ kept, bytes, ring, Session }, `
  return {
    openSession(i) { PAD
      kept.sessions[i] = new Session(i, bytes.latin1Slice(0, 120), [i, i, i, i, i, i, i, i, i, i, i, i]);
    },
    addNumbers(i) { PAD if (i % 5 === 0) kept.numbers.push(new Array(200).fill(i)); },
    addRow(i) { PAD if (i % 2 === 0) kept.rows.push({ i, a: { i }, b: { i }, c: { i } }); },
    addText(i) { PAD kept.texts[i] = bytes.latin1Slice(0, 100 + (i & 31)); },
    addClosure(i) { PAD kept.closures[i] = () => i; },
    garbage(i) { PAD ring[i & 63] = { i, list: [i, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i] }; },
  };`, 'sites.js');

const session = new inspector.Session();
session.connect();
const post = (method, parameters) => new Promise((resolve, reject) => {
  session.post(method, parameters, (error, result) => (error ? reject(error) : resolve(result)));
});

// What V8's profiler says by the nearest function of a script of this test.
function bySite(node, site, all) {
  const { functionName, url } = node.callFrame;
  const own = url.endsWith('sites.js') ? functionName : site;
  if (own) all[own] = (all[own] || 0) + node.selfSize;
  for (const child of node.children) bySite(child, own, all);
  return all;
}

async function work() {
  gc();
  await post('HeapProfiler.startSampling', { samplingInterval: 65536 });
  for (let i = 0; i < SESSIONS; i++) {
    sites.openSession(i);
    sites.addNumbers(i);
    sites.addRow(i);
    sites.addText(i);
    sites.addClosure(i);
    for (let k = 0; k < 4; k++) sites.garbage(i);
    if (i % 500 === 0) await pause();
  }
  gc();
  gc();
  const { profile } = await post('HeapProfiler.getSamplingProfile');
  await post('HeapProfiler.stopSampling');
  return [{ profile: bySite(profile.head, null, {}) }];
}

// Bytes in objects by what a report calls them.
async function snapshot() {
  let text = '';
  const take = ({ params }) => { text += params.chunk; };
  session.on('HeapProfiler.addHeapSnapshotChunk', take);
  await post('HeapProfiler.takeHeapSnapshot');
  session.off('HeapProfiler.addHeapSnapshotChunk', take);
  const { snapshot: { meta }, nodes, strings } = JSON.parse(text);
  const [type, name, size] = ['type', 'name', 'self_size'].map((field) => meta.node_fields.indexOf(field));
  const types = meta.node_types[type];
  const all = {};
  for (let at = 0; at < nodes.length; at += meta.node_fields.length) {
    let called = strings[nodes[at + name]];
    if (/string/.test(types[nodes[at + type]])) called = 'String';
    if (types[nodes[at + type]] === 'closure') called = 'closure';
    all[called] = (all[called] || 0) + nodes[at + size];
  }
  return all;
}

const NAMES = ['Session', 'String', 'Array', 'closure', '(object elements)'];

(async () => {
  const before = await snapshot();
  for (let i = 0; i < 200; i++) Object.values(sites).forEach((site) => site(i));
  await steps(work, async () => {
    const after = await snapshot();
    return [{ snapshot: Object.fromEntries(NAMES.map((name) => [name, (after[name] || 0) - (before[name] || 0)])) }];
  });
})();
