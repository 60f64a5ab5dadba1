// leaktrace's demo for node: a service that answers requests and forgets to forget.
//
// It is slow on purpose: functions that run often are compiled into their callers, and then only V8 knows their names.
'use strict';

const sessions = new Map();
let request = 0;

// The leak: every session keeps its upload, and nothing removes sessions.
function openSession(id) {
  sessions.set(id, Buffer.alloc(100 * 1024, id & 0xff));
}

// Not a leak: a cache with a bound.
const cache = [];
function remember(page) {
  cache[page % 16] = Buffer.alloc(40 * 1024, page & 0xff);
}

// Not a leak: in use for a moment only.
function render(page) {
  return Buffer.alloc(20 * 1024, page & 0xff).length;
}

console.log('serving');
setInterval(() => {
  for (let i = 0; i < 2; i += 1) {
    request += 1;
    openSession(request);
    remember(request);
    render(request);
  }
}, 50);
