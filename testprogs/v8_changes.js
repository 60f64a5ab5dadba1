// Two steps, each at a line on stdin and told by a line on stdout: sessions are opened; they are closed, and there are
// tickets. Objects are large, so that samples find enough of them.
'use strict';

const FIELDS = Array.from({ length: 150 }, (_, n) => `this.field${n} = ${n};`).join('');
const Session = new Function(`return class Session { constructor() { ${FIELDS} } }`)();
const Ticket = new Function(`return class Ticket { constructor() { ${FIELDS} } }`)();
const MANY = 20000;

let sessions = [];
const tickets = [];

const steps = [
  () => {
    for (let left = MANY; left > 0; left -= 1) sessions.push(new Session());
  },
  () => {
    sessions = [];
    for (let left = MANY; left > 0; left -= 1) tickets.push(new Ticket());
  },
];

let lines = 0;
process.stdin.on('data', (data) => {
  for (const byte of data) {
    if (byte !== 10) continue;
    lines += 1;
    if (lines <= steps.length) {
      // Samples begin with the first collection.
      gc();
      steps[lines - 1]();
      gc();
      process.stdout.write(`{"step":${lines}}\n`);
    } else if (lines === steps.length + 1) {
      process.stdout.write(`{"tickets":${tickets.length}}\ndone\n`);
    } else {
      process.exit(0);
    }
  }
});
process.stdin.on('end', () => process.exit(98));
process.stdout.write(`ready ${process.pid}\n`);
