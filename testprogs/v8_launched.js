// Leaks from its start and ends.
'use strict';
const kept = [];

function leakFromStart(i) {
  kept.push({ i, list: new Array(200).fill(i) });
}

let at = 0;
(function some() {
  for (let i = 0; i < 200; i++) leakFromStart(at++);
  if (at < 20000) setTimeout(some, 5);
})();
