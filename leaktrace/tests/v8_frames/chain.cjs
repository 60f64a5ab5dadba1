'use strict';
// Functions of every sort call one another, and the last says where V8 thinks it is, then waits for its input there.
const fs = require('node:fs');
Error.stackTraceLimit = 200;
const tier = process.argv[2];

function capture() {
  const before = Error.prepareStackTrace;
  Error.prepareStackTrace = (_, sites) => sites;
  const sites = new Error().stack;
  Error.prepareStackTrace = before;
  const frames = sites.filter((site) => !site.isAsync()).map((site) => ({
    function: site.getFunctionName(), file: site.getFileName() ?? null, eval: site.getEvalOrigin() ?? null,
    line: site.getLineNumber(), column: site.getColumnNumber(),
  }));
  fs.writeSync(1, JSON.stringify(frames) + '\n');
  return 1;
}
function wait() { fs.readSync(0, Buffer.alloc(1)); return 1; }

// Many of them, or compiled code would expect the one that it knows.
let steps = [() => 1, () => 2, () => 3, () => 4, () => 5, () => 6];

function leaf(sum) {
  for (let i = 0; i < steps.length; i++) sum += steps[i]();
  return sum;
}
class Basket {
  constructor() { this.sum = leaf(1); }
  add() { return new Basket(); }
  static make(basket) { return basket.add(); }
  get size() { return Basket.make(this); }
}
const arrow = (basket) => basket.size;
function mapped(basket) { return [basket].map((one) => arrow(one)); }
const holder = {
  method(basket) { return mapped(basket); },
  'quoted key': function (basket) {
    return holder.method(basket); },
};
holder.late = function (basket) { return holder['quoted key'](basket); };
function* generator(basket) { yield holder.late(basket); }
function drive(basket) { return generator(basket).next(); }
async function later(basket) { drive(basket); }
const evaluated = eval('(function inEval(basket) { return later(basket); })');
const made = new Function('basket', 'next', 'return next(basket)');
function outer(basket) {
  const captured = () => made(basket, evaluated);
  return captured();
}

const basket = Object.create(Basket.prototype);
const functions = [leaf, Basket, Basket.prototype.add, Basket.make, arrow, mapped, holder.method,
  holder['quoted key'], holder.late, drive, later, evaluated, made, outer];
const natives = { maglev: 'OptimizeMaglevOnNextCall', turbofan: 'OptimizeFunctionOnNextCall' }[tier];
if (natives) {
  const each = (native) => functions.forEach(new Function('f', `%${native}(f)`));
  each('PrepareFunctionForOptimization');
  for (let i = 0; i < 20; i++) outer(basket);
  each(natives);
  for (let i = 0; i < 3; i++) outer(basket);
} else outer(basket);
steps = [capture, wait, () => 7, () => 8, () => 9, () => 10];
outer(basket);
