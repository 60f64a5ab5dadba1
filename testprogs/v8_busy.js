// Allocates about a gigabyte a second for some seconds: two parts at one site, one at another, and one in fifty at a third,
// which stays.
'use strict';
const { steps, padded } = require('./v8_protocol');

const SECONDS = 6;
const kept = [];

const sites = padded({ kept, ring: new Array(64).fill(null) }, `
  return {
    often(i) { PAD ring[i & 63] = { i, list: [i, i, i, i, i, i, i, i, i, i, i, i] }; },
    rarely(i) { PAD ring[i & 63] = { i, list: [i, i, i, i, i, i, i, i, i, i, i, i] }; },
    keep(i) { PAD kept.push({ i, list: [i, i, i, i, i, i, i, i, i, i, i, i] }); },
  };`, 'sites.js');

function unit() {
  for (let i = 0; i < 16; i++) {
    sites.often(i);
    sites.often(i);
    sites.rarely(i);
  }
  sites.keep(0);
}

function work() {
  for (const until = Date.now() + SECONDS * 1000; Date.now() < until;) {
    for (let k = 0; k < 1000; k++) unit();
  }
  return [{ kept: kept.length }];
}

unit();
steps(work);
