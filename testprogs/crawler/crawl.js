// A crawler as people wrote it: OnRequest, the callback of each page, cleans the page by `$` and queues the next one. For
// a list of all pages when the crawl is over, `leaking` keeps a closure for each, which reads the title then: it holds
// `$`, and so the whole document. `corrected` reads at once, and keeps the last few lines.
//
//     node crawl.js leaking|corrected MODULES PORT
//
// MODULES is the folder in which crawler 0.4.3 is installed, PORT that of a site on the loopback. Crawls until a line
// comes on stdin. With --expose-gc there is a major collection twice a second: an hour's number in a test's time.
'use strict';
const path = require('path');

const [kind, modules, port] = process.argv.slice(2);
const Crawler = require(path.join(modules, 'crawler'));
const SHOWN = 20;

const list = [];
let pages = 0;
let over = false;

const callbacks = {
  leaking: function OnRequest(error, result, $) {
    if (error) throw error;
    clean($);
    list.push(() => `${$('title').text()}: ${$('a').length} links`);
    follow($('a').first().attr('href'));
  },
  corrected: function OnRequest(error, result, $) {
    if (error) throw error;
    clean($);
    list.push(`${$('title').text()}: ${$('a').length} links`);
    if (list.length > SHOWN) list.shift();
    follow($('a').first().attr('href'));
  },
};

// Takes out what only counts visitors; the document is made anew.
function clean($) {
  const body = $('body');
  body.html(body.html().replace(/[?]from=[0-9]+/g, ''));
}

function follow(path) {
  pages += 1;
  if (!over) crawler.queue(`http://127.0.0.1:${port}${path}`);
}

const crawler = new Crawler({ jQuery: true, maxConnections: 4, callback: callbacks[kind] });

let lines = 0;
process.stdin.on('data', (data) => {
  for (const byte of data) {
    if (byte !== 10) continue;
    lines += 1;
    if (lines === 1) {
      crawler.queue(`http://127.0.0.1:${port}/0`);
      if (globalThis.gc) setInterval(gc, 500);
    }
    if (lines === 2) {
      over = true;
      process.stdout.write(`{"pages":${pages},"kept":${list.length}}\ndone\n`);
    }
    if (lines === 3) process.exit(0);
  }
});
process.stdin.on('end', () => process.exit(98));
process.stdout.write(`ready ${process.pid}\n`);
