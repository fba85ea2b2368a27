// One image pass of ONNX Runtime on the CPU, driven over standard input; see README.md.
//
//     NODE_PATH=build/bench/node_modules node tests/bench/peer_onnx.js MODEL_FOLDER THREADS
'use strict';

const fs = require('fs');
const path = require('path');
const readline = require('readline');
const ort = require('onnxruntime-node');

const SHAPE = [3, 224, 224];
const PIXELS = SHAPE.reduce((a, b) => a * b);

async function main(folder, threads) {
  const bytes = fs.readFileSync(path.join(folder, 'pixels.f32'));
  const pixels = new Float32Array(new Uint8Array(bytes).buffer);
  const session = await ort.InferenceSession.create(path.join(folder, 'image_tower.onnx'), {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  console.log(`ready ONNX Runtime ${ort.env.versions.node}, onnxruntime-node`);

  let features = new Float32Array(0);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, argument] = line.split(' ');
    if (command === 'run') {
      const count = Number(argument);
      const values = pixels.subarray(0, count * PIXELS);
      const input = new ort.Tensor('float32', values, [count, ...SHAPE]);
      const start = process.hrtime.bigint();
      const result = await session.run({ pixels: input });
      const end = process.hrtime.bigint();
      features = result.features.data;
      console.log((Number(end - start) / 1e6).toFixed(3));
    } else if (command === 'save') {
      fs.writeFileSync(argument, features);
      console.log('saved');
    } else {
      throw new Error(`unknown command "${line}"`);
    }
  }
}

if (process.argv.length !== 4) {
  console.error('usage: peer_onnx.js MODEL_FOLDER THREADS');
  process.exit(2);
}
main(process.argv[2], Number(process.argv[3])).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
