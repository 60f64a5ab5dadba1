// What Maps, Sets, WeakMaps, dictionaries, sparse arrays and closures hold their memory in, each kept.
'use strict';
const { steps } = require('./v8_protocol');

const MANY = 6000;
const kept = [];

function fillMaps() {
  for (let i = 0; i < MANY / 10; i++) {
    const map = new Map();
    for (let k = 0; k < 200; k++) map.set(k, i);
    kept.push(map);
  }
}

function fillWeakMaps() {
  const keys = Array.from({ length: 200 }, () => ({}));
  kept.push(keys);
  for (let i = 0; i < MANY / 10; i++) {
    const map = new WeakMap();
    for (const key of keys) map.set(key, i);
    kept.push(map);
  }
}

function fillDictionaries() {
  for (let i = 0; i < MANY / 4; i++) {
    const object = {};
    for (let k = 0; k < 60; k++) object[`name${k}`] = i;
    // From here on its properties are in a table.
    delete object.name0;
    kept.push(object);
  }
}

function fillSparseArrays() {
  for (let i = 0; i < MANY / 20; i++) {
    const array = [];
    for (let k = 0; k < 600; k++) array[k * 100003] = i;
    kept.push(array);
  }
}

// Each call has variables of its own, which live as long as the function that sees them.
const enclosed = new Function('i', `
  ${Array.from({ length: 150 }, (_, k) => `let v${k} = i + ${k};`).join('')}
  return () => ${Array.from({ length: 150 }, (_, k) => `v${k}`).join(' + ')};
`);
function fillClosures() {
  for (let i = 0; i < MANY; i++) kept.push(enclosed(i));
}

steps(async () => {
  gc();
  fillMaps();
  fillWeakMaps();
  fillDictionaries();
  fillSparseArrays();
  fillClosures();
  gc();
  gc();
  return [{ kept: kept.length }];
});
