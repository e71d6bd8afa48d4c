// A plugin for weir that gives a share of a service's traffic to its canaries.
//
// The decisions are made in canary.js, which knows nothing of WebAssembly. weir calls this file: it has one
// object per interface of the contract.
import { needs, parse, schedule } from "./canary.js";

// weir configures each fresh instance once, before any other call.
let settings;

export const lifecycle = {
    // Stores the configuration, or throws all mistakes in it.
    configure(configuration) {
        const { parsed, problems } = parse(configuration);
        if (problems.length > 0) {
            throw problems;
        }
        settings = parsed;
    },

    describe() {
        return { name: "canary", version: "0.1.0", needs: needs(settings), metrics: null, extra: null };
    },
};

export const scheduler = {
    // Answers each request with one schedule, in order.
    scheduleServices(_context, requests) {
        return requests.map(({ service }) => schedule(service, settings));
    },
};
