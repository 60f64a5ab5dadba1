// The part of v8_frames.mjs that is no ES module.
'use strict';

exports.site = function commonjs(ring, i, probing) {
  return (ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i]);
};

exports.callback = (ring, probing) => function callback(i) {
  ring[i & 63] = [i, probing(), i, i, i, i, i, i, i, i];
};
