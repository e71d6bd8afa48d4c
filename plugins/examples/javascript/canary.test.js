import assert from "node:assert/strict";
import test from "node:test";

import { needs, parse, schedule } from "./canary.js";

const { parsed: settings } = parse("null");

function service(percent, slices) {
    const state = { internal: true, external: false };
    const endpoints = slices.flatMap(({ size }, slice) => Array.from({ length: size }, () => ({ slice, state })));
    const labels = ({ canary }) => (canary ? [[settings.label, "true"]] : []);
    return {
        annotations: [[settings.annotation, percent]],
        slices: slices.map((slice) => ({ labels: labels(slice) })),
        ports: [{ endpoints }],
    };
}

function weights(percent, canaries, others) {
    const slices = [{ canary: true, size: canaries }, { canary: false, size: others }];
    return schedule(service(percent, slices), settings).ports?.[0]?.weights.val;
}

test("each kind gets its share, however many endpoints it has", () => {
    assert.deepEqual(weights("10", 1, 3), [1, 3, 3, 3]);
    assert.deepEqual(weights("50", 2, 1), [1, 1, 2]);
    assert.deepEqual(weights("0", 1, 2), [0, 1, 1]);
    assert.deepEqual(weights("100", 1, 2), [1, 0, 0]);
});

test("a share never becomes nothing, and a weight never too large", () => {
    const [canary, ...others] = weights("1", 1, 3).concat(weights("99", 1, 7001));
    assert.ok([canary, ...others].every((weight) => weight >= 1 && weight <= 65535));
    assert.equal(weights("99", 1, 7001)[0], 65535);
});

test("without both kinds nothing changes", () => {
    assert.equal(schedule(service("10", [{ canary: true, size: 2 }]), settings).ports, null);
    assert.equal(schedule(service("10", [{ canary: false, size: 2 }]), settings).ports, null);
});

test("a service without attributes and endpoints is left as it is", () => {
    assert.equal(schedule({ ports: [{}] }, settings).ports, null);
    const annotated = { annotations: [[settings.annotation, "10"]], ports: [{}] };
    assert.equal(schedule(annotated, settings).ports, null);
});

test("a value that is no percentage is named", () => {
    for (const text of ["101", "-1", "5.5", "", "ten", "010"]) {
        const { ports, reason } = schedule(service(text, [{ canary: true, size: 1 }]), settings);
        assert.equal(ports, null);
        assert.match(reason, /^weir\.example\/canary-percent: ".*" is not a whole number/);
    }
});

test("every mistake in the configuration is named", () => {
    const { problems } = parse('{"anotation": "a", "label": 7, "scheduler": "rr"}');
    const places = ["anotation is an unknown field", "label: 7 is not text", "scheduler: rr does not use weights"];
    assert.equal(problems.length, places.length);
    places.forEach((place, index) => assert.ok(problems[index].startsWith(place), problems[index]));
    assert.deepEqual(parse("[]").problems, ["the configuration must be an object"]);
});

test("the configuration says what is read", () => {
    const { parsed } = parse('{"annotation": "a/b", "label": "c"}');
    assert.deepEqual(needs(parsed), ["endpoints", "annotation:a/b", "slice-label:c"]);
});
