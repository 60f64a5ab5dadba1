// An HTTP server that keeps, for each request to /leak, a session, the body of an answer, and a Buffer. As leak_server.js
// otherwise.
'use strict';
const http = require('http');

const kept = { sessions: [], bodies: [], buffers: [] };

function rememberSession(url) {
  const cart = new Array(6000).fill(url.length);
  kept.sessions.push({ url, cart });
}

function cacheBody(number) {
  const rows = Array.from({ length: 250 }, (_, row) => ({ row, number, price: row * 1.5 }));
  kept.bodies.push(rows);
}

function keepBuffer() {
  kept.buffers.push(Buffer.alloc(8000, 7));
}

const server = http.createServer((request, response) => {
  if (request.url === '/leak') {
    rememberSession(request.url);
    cacheBody(kept.bodies.length);
    keepBuffer();
  }
  const body = JSON.stringify({ url: request.url, filler: 'x'.repeat(2000) });
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
});
server.keepAliveTimeout = 60000;

server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`port ${server.address().port}\nready ${process.pid}\n`);
});

let lines = 0;
process.stdin.on('data', (data) => {
  for (const byte of data) {
    if (byte !== 10) continue;
    lines += 1;
    if (lines === 1) process.stdout.write(`{"kept":${kept.buffers.length}}\ndone\n`);
    if (lines === 2) process.exit(0);
  }
});
process.stdin.on('end', () => process.exit(98));
