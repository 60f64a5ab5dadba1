// The same as service.c: a Buffer's memory is native.
'use strict';
const kept = [];
const blocks = [];

function leakARequest() {
    kept.push(Buffer.allocUnsafeSlow(9000));
}

console.log(`ready ${process.pid}`);
let line = 0;
let timer;
process.stdin.on('data', () => {
    line += 1;
    if (line === 1) {
        let at = 0;
        timer = setInterval(() => {
            blocks[at++ % 64] = Buffer.allocUnsafeSlow(8192 + at % 64);
            leakARequest();
        }, 10);
    } else if (line === 2) {
        clearInterval(timer);
        console.log(`{"leaked":${kept.length}}`);
        console.log('done');
    } else {
        process.exit(0);
    }
});
