// Leaks in the main thread and, at another place, in two worker threads.
'use strict';
const { Worker, isMainThread, parentPort } = require('worker_threads');
const { steps } = require('./v8_protocol');

const kept = [];

function inMain(i) {
  kept.push(new Array(300).fill(i));
}

function inWorker(i) {
  kept.push(new Array(300).fill(i));
}

function leak(site) {
  for (let i = 0; i < 20000; i++) site(i);
}

if (isMainThread) {
  const answers = (workers) => Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
  const workers = [new Worker(__filename), new Worker(__filename)];
  answers(workers).then(() => steps(async () => {
    leak(inMain);
    const done = answers(workers);
    for (const worker of workers) worker.postMessage('leak');
    await done;
    return [{ kept: kept.length * 3 }];
  }));
} else {
  parentPort.on('message', () => {
    leak(inWorker);
    parentPort.postMessage('done');
  });
  parentPort.postMessage('ready');
}
