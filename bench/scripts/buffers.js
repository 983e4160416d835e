// Buffers, digests, compression, maps and JSON in Node: the workload node of the benchmarks. Objects and strings live in
// V8's own heap; the bodies of buffers and what zlib and OpenSSL need are malloc's. Prints a checksum of what it made.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');

const ROUNDS = 20;
const RECORDS = 3000;

let state = 1;
function below(limit) {
	state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
	return (state >>> 8) % limit;
}

function record(id) {
	const tags = [];
	for (let n = below(6); n > 0; n--)
		tags.push('tag-' + below(1000));
	return {id, name: 'name '.repeat(1 + below(40)) + id, tags, at: {x: below(1000), y: below(1000)}};
}

const cache = new Map();
const digest = crypto.createHash('sha256');
for (let round = 0; round < ROUNDS; round++) {
	const records = [];
	for (let id = 0; id < RECORDS; id++)
		records.push(record(id));
	for (const one of JSON.parse(JSON.stringify(records))) {
		// A pool of small buffers is Node's own; Slow buffers each have a body of their own.
		const text = JSON.stringify(one);
		const body = Buffer.allocUnsafeSlow(text.length + below(4096)).fill(text);
		const key = crypto.createHash('md5').update(body).digest('latin1').slice(0, 2);
		cache.set(key, body);
		if (one.id % 40 === 0)
			digest.update(zlib.deflateRawSync(body, {level: 1, memLevel: 3, windowBits: 10}));
	}
	const all = Buffer.concat([...cache.values()]);
	digest.update(all.subarray(0, 1 << 16));
	digest.update(all.toString('latin1').slice(-1000));
	if (cache.size > 20000)
		cache.clear();
}
console.log('checksum', digest.digest('hex'), cache.size);
