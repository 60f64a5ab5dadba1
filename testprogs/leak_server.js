// An HTTP server on a free port of the loopback that keeps a native buffer for each request to /leak.
// The line "port N" comes before "ready PID"; a line on stdin ends it.
'use strict';
const http = require('http');

const SIZE = 70001;
const kept = [];

const server = http.createServer((request, response) => {
  if (request.url === '/leak') kept.push(Buffer.alloc(SIZE, 7));
  const body = JSON.stringify({ url: request.url, kept: kept.length, filler: 'x'.repeat(200) });
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
    // The first line only starts the work, which is to serve; the second ends it, the third the process.
    if (lines === 2) process.stdout.write(`{"kept":${kept.length},"size":${SIZE}}\ndone\n`);
    if (lines === 3) process.exit(0);
  }
});
process.stdin.on('end', () => process.exit(98));
