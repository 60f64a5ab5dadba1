// Leaks and ends by itself: names have to be read before.
'use strict';
const kept = [];

function leakAndEnd(i) {
  kept.push({ i, list: new Array(200).fill(i) });
}

process.stdout.write(`ready ${process.pid}\n`);
process.stdin.once('data', async () => {
  for (let i = 0; i < 20000; i++) {
    leakAndEnd(i);
    if (i % 200 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  process.exit(0);
});
