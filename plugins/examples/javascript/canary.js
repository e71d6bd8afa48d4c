// Computes the weights of a service's endpoints.

const DEFAULTS = {
    // Annotation on a Service: the percentage of its connections that canaries get.
    annotation: "weir.example/canary-percent",
    // Label on an EndpointSlice whose endpoints are canaries.
    label: "weir.example/canary",
    scheduler: "wrr",
};

// The kernel's schedulers that use weights.
const WEIGHTED = ["wrr", "wlc", "sed", "nq", "mh"];

const LARGEST_WEIGHT = 65535;

// Reads `{"annotation": …, "label": …, "scheduler": …}`, all optional, and returns all mistakes.
export function parse(configuration) {
    const problems = [];
    const given = JSON.parse(configuration) ?? {};
    if (typeof given !== "object" || Array.isArray(given)) {
        return { problems: ["the configuration must be an object"] };
    }
    for (const [field, value] of Object.entries(given)) {
        if (!Object.hasOwn(DEFAULTS, field)) {
            problems.push(`${field} is an unknown field: use one of ${Object.keys(DEFAULTS).join(", ")}`);
        } else if (typeof value !== "string" || value.trim() === "") {
            problems.push(`${field}: ${JSON.stringify(value)} is not text`);
        } else if (field === "scheduler" && !WEIGHTED.includes(value)) {
            problems.push(`${field}: ${value} does not use weights; write one of ${WEIGHTED.join(", ")}`);
        }
    }
    return { parsed: { ...DEFAULTS, ...given }, problems };
}

// The data that the plugin needs; weir leaves out everything else.
export function needs({ annotation, label }) {
    return ["endpoints", `annotation:${annotation}`, `slice-label:${label}`];
}

// Returns the schedule of a service.
export function schedule(service, settings) {
    const text = valueOf(service.annotations, settings.annotation);
    if (text === undefined) {
        return keep(null);
    }
    if (!/^(100|[1-9]?[0-9])$/.test(text)) {
        return keep(`${settings.annotation}: ${JSON.stringify(text)} is not a whole number from 0 to 100`);
    }
    // An empty list is absent.
    const canaries = (service.slices ?? []).map((slice) => valueOf(slice.labels, settings.label) === "true");
    const isCanary = (endpoint) => canaries[endpoint.slice] === true;
    const ports = service.ports.map((port) => scheduling(port.endpoints ?? [], isCanary, Number(text), settings));
    if (!ports.some(({ weights }) => weights.tag === "each")) {
        return keep("there are not both canaries and other endpoints");
    }
    return { ...keep(`${text} % to canaries`), ports };
}

// Schedules one port: with a share for canaries if there are endpoints of both kinds.
function scheduling(endpoints, isCanary, percent, settings) {
    const used = endpoints.filter(({ state }) => state.internal || state.external);
    const canaries = used.filter(isCanary).length;
    const others = used.length - canaries;
    const same = { schedulerFlags: null, persistence: { tag: "keep" }, persistenceGroup: null, extra: null };
    if (canaries === 0 || others === 0) {
        return { ...same, scheduler: null, weights: { tag: "keep" } };
    }
    // The endpoints of a kind divide its part, so the weight is the part times the number of the other kind's endpoints.
    const [canary, other] = smallest(percent * others, (100 - percent) * canaries);
    const weights = endpoints.map((endpoint) => (isCanary(endpoint) ? canary : other));
    return { ...same, scheduler: settings.scheduler, weights: { tag: "each", val: weights } };
}

// Returns two weights in the same ratio, as small as possible and within the limit.
function smallest(a, b) {
    const divisor = greatestCommonDivisor(a, b);
    const scale = Math.min(1, (LARGEST_WEIGHT * divisor) / Math.max(a, b));
    // A weight above 0 must not become 0.
    return [a, b].map((weight) => (weight === 0 ? 0 : Math.max(1, Math.floor((weight / divisor) * scale))));
}

function greatestCommonDivisor(a, b) {
    return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

// Keeps the answer of earlier plugins.
function keep(reason) {
    return { ports: null, drain: null, reason, reEvaluateAfter: null, metrics: null, extra: null };
}

function valueOf(attributes, key) {
    return attributes?.find(([name]) => name === key)?.[1];
}
