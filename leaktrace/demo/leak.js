// leaktrace's demo for node: a service that answers requests and forgets to forget.
'use strict';

class Session {
  constructor(id) {
    this.id = id;
    this.visited = [`/page/${id}`, `/page/${id + 1}`];
    this.upload = Buffer.alloc(64 * 1024, id & 0xff);
    this.form = new Array(2000).fill(id);
  }
}

// The leak: nothing removes a session.
const sessions = new Map();
function openSession(id) {
  sessions.set(id, new Session(id));
}

// Not a leak: a cache with a bound.
const cache = [];
function remember(page) {
  cache[page % 16] = Buffer.alloc(40 * 1024, page & 0xff);
}

// Not a leak: in use for a moment only.
function render(page) {
  const rows = [];
  for (let row = 0; row < 5000; row += 1) {
    rows.push({ page, row, text: `row ${row}` });
  }
  return rows.length;
}

console.log('serving');
let request = 0;
setInterval(() => {
  for (let i = 0; i < 3; i += 1) {
    request += 1;
    openSession(request);
    remember(request);
    render(request);
  }
}, 25);
