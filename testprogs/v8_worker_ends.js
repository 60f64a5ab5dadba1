// Workers that leak and are ended one after another, while the main thread leaks too.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { steps } = require('./v8_protocol');

const kept = [];

function inMain(i) {
  kept.push(new Array(300).fill(i));
}

function inWorker(i) {
  kept.push(new Array(300).fill(i));
}

function leak(site, times) {
  for (let i = 0; i < times; i++) site(i);
}

// Never collects garbage: what it allocates fits.
function inSmallWorker(i) {
  kept.push(new Array(300).fill(i));
}

async function run(size) {
  const worker = new Worker(__filename, { workerData: size });
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await worker.terminate();
}

if (isMainThread) {
  steps(async () => {
    leak(inMain, 5000);
    for (let i = 0; i < 20; i++) await run('large');
    for (let i = 0; i < 5; i++) await run('small');
    leak(inMain, 5000);
    return [{ kept: kept.length }];
  });
} else {
  if (workerData === 'small') leak(inSmallWorker, 400);
  else {
    leak(inWorker, 1500);
    gc();
    leak(inWorker, 500);
  }
  // Names are read from outside some 10 ms after the code ran, and so before the isolate goes.
  setTimeout(() => parentPort.postMessage('done'), 100);
  setInterval(() => {}, 1000);
}
