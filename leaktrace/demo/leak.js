// leaktrace's demo for node: a service that answers requests and forgets to forget.
'use strict';

const sessions = new Map();
let request = 0;

// The leak: every session keeps its upload, and nothing removes sessions.
function openSession(id) {
  sessions.set(id, Buffer.alloc(16 * 1024, id & 0xff));
}

// Not a leak: a cache with a bound.
const cache = [];
function remember(page) {
  cache[page % 64] = Buffer.alloc(8 * 1024, page & 0xff);
}

// Not a leak: in use for a moment only.
function render(page) {
  return Buffer.alloc(4 * 1024, page & 0xff).length;
}

setInterval(() => {
  for (let i = 0; i < 5; i += 1) {
    request += 1;
    openSession(request);
    remember(request);
    render(request);
  }
}, 10);
